import cv2
import numpy as np
import pytest

from harkeras.video.drawing import TimelineStrip, class_color, draw_caption

CLASSES = tuple("abcdefghij")
SIZES = [(240, 320), (720, 1280), (1280, 720), (64, 64)]


class TestClassColor:
    def test_seven_colors_that_repeat(self):
        colors = [class_color(name, CLASSES) for name in CLASSES]
        assert len(set(colors)) == 7
        assert colors[7:] == colors[:3]

    def test_other_labels_are_grey(self):
        assert len(set(class_color("unsure", CLASSES))) == 1
        assert class_color("a", list(CLASSES)) == class_color("a", CLASSES)


def caption(label, probability=0.5, height=240, width=320, background=90, corner="top-left", margin_px=0):
    """The frame with a caption."""
    image = np.full((height, width, 3), background, np.uint8)
    draw_caption(image, label, probability, (255, 0, 0), corner=corner, margin_px=margin_px)
    return image


def box_of(image, background=90):
    """Top, bottom, left and right of what was drawn, half-open."""
    drawn = (image != background).any(axis=-1)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


class TestDrawCaption:
    @pytest.mark.parametrize(("height", "width"), SIZES)
    @pytest.mark.parametrize("label", ["Walk", "A class with a very long name " * 5])
    def test_fits_into_the_frame(self, height, width, label):
        image = caption(label, height=height, width=width)
        top, bottom, left, right = box_of(image)
        assert (top, left) == (0, 0)
        assert bottom < height / 2
        if width > 64:
            assert right < width
            assert image[:bottom, right - 2 : right].max() <= 90  # no letter touches the end

    def test_letters_are_light_on_dark_and_the_bar_colored(self):
        image = caption("Walk")
        _, bottom, _, right = box_of(image)
        assert image[:bottom, 10:right].max() == 255
        assert (image[1, :2] == (255, 0, 0)).all()
        assert (image[1, 10:right] == 90 // 4).all()

    def test_grows_with_the_frame(self):
        small, large = (box_of(caption("Walk", height=h, width=w))[1] for h, w in SIZES[:2])
        assert large == pytest.approx(3 * small, rel=0.1)

    def test_long_names_keep_the_probability(self):
        ends = [caption("name " * 40, share)[:30, -80:] for share in (0.17, 0.99)]
        assert (ends[0] != ends[1]).any()

    def test_the_box_stays_as_wide_while_the_probability_changes(self):
        boxes = {box_of(caption("Walk", share)) for share in (0, 0.07, 0.5, 0.996, 1)}
        assert len(boxes) == 1

    def test_without_a_probability(self):
        assert box_of(caption("unsure", None))[3] < box_of(caption("unsure"))[3]

    @pytest.mark.parametrize("corner", ["top-left", "top-right", "bottom-left", "bottom-right"])
    def test_corners(self, corner):
        image = caption("Walk", corner=corner, margin_px=25)
        top, bottom, left, right = box_of(image)
        assert (top == 0) == corner.startswith("top")
        assert (bottom == 240 - 25) == corner.startswith("bottom")
        assert (left == 0) == corner.endswith("left")
        assert (right == 320) == corner.endswith("right")
        assert (image[top + 1, 0 if left == 0 else -1] == (255, 0, 0)).all()  # the bar is at the edge
        width = right - left
        letters = image[top:bottom, left:right].max(axis=-1) > 180
        assert 0.01 < letters[:, 10 : width - 10].mean() < 0.5

    def test_none(self):
        assert (caption("Walk", corner="none") == 90).all()

    @pytest.mark.skipif(int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV 4 knows ASCII alone")
    @pytest.mark.parametrize("name", ["Größe", "走る", "جري"])
    def test_letters_of_many_scripts(self, name):
        known, unknown = (caption(text, None) for text in (name, "?" * len(name)))
        assert (known != unknown).any()

    def test_drawing_twice_gives_the_same(self):
        np.testing.assert_array_equal(caption("Walk", background=10), caption("Walk", background=10))


COLORS = {label: class_color(label, CLASSES) for label in (*CLASSES, "unsure")}


class TestTimelineStrip:
    def draw(self, seconds, height=240, width=300, ends=(5, 5, 10), labels="aba", background=90):
        image = np.full((height, width, 3), background, np.uint8)
        strip = TimelineStrip(height, width, ends, labels, COLORS)
        strip.draw(image, seconds)
        assert (image[: -strip.covered_px] == background).all()
        return image

    def test_past_is_bright_and_future_dim(self):
        image, color = self.draw(5), np.array(COLORS["a"])
        assert (image[-1, 20] == color).all()
        assert (image[-1, 290] == color // 2).all()

    @pytest.mark.parametrize("seconds", [0, 2.2, 10, 11])
    def test_mark_at_the_present_moment(self, seconds):
        light = np.flatnonzero((self.draw(seconds)[-11:] == 255).all(axis=(0, 2)))
        assert 1 <= len(light) <= 2
        assert np.abs(light - min(seconds, 10) * 30).max() <= 1

    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_sizes(self, height, width):
        image = self.draw(3, height, width, (2, 10), "ab")
        assert (image[-2, -1] == np.array(COLORS["b"]) // 2).all()
        assert (image[: round(0.88 * height)] == 90).all()  # little of the picture is covered

    @pytest.mark.parametrize(
        ("duration", "step"), [(2.1, 1), (10, 2), (60, 15), (600, 300), (7200, 3600), (1e6, 432000)]
    )
    def test_times(self, duration, step):
        """Below the letters, only the marks are light: at round times, no two too close."""
        image = self.draw(0, width=320, ends=(duration,), labels="a", background=0)
        marks = np.flatnonzero((image[-1] == 255).all(axis=-1))
        marks = marks[marks > 5]  # without the present moment
        expected = np.arange(step, duration, step) / duration * 320
        assert len(expected) - len(marks) <= 1  # the last one may have no room
        np.testing.assert_allclose(marks, expected[: len(marks)], atol=1)

    def test_names_of_those_that_hold_longest_as_far_as_they_fit(self):
        """Each has a square of its color before it; the number of the others comes last."""
        names = ["a long name", "a longer name", "the longest of all names", "rare"]
        colors = dict(zip(names, [COLORS[label] for label in "abcd"], strict=True))
        for width, shown in ((600, "bacd"), (200, "ba"), (30, "")):
            image = np.full((240, width, 3), 90, np.uint8)
            strip = TimelineStrip(240, width, (3, 8, 9, 9.5), names, colors)
            strip.draw(image, 0)
            legend = image[-strip.covered_px : -12]
            places = []
            for label in "abcd":
                columns = np.flatnonzero((legend == COLORS[label]).all(axis=-1).any(axis=0))
                assert (len(columns) > 0) == (label in shown)
                places += [(columns[0], label)] if label in shown else []
            assert "".join(label for _, label in sorted(places)) == shown
            right = np.flatnonzero((legend < 90).any(axis=(0, 2))).max()
            assert right < width
            if places:
                assert (legend.min(axis=-1) > 180).any(axis=0)[max(places)[0] :].any()  # letters
