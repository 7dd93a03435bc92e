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


def caption(label, text="50%", height=240, width=320, background=90):
    """The frame with a caption, and how wide the dark box is."""
    image = np.full((height, width, 3), background, np.uint8)
    draw_caption(image, label, text, (255, 0, 0))
    return image, np.flatnonzero(image[1, :, 1] < background).max() + 1


class TestDrawCaption:
    @pytest.mark.parametrize(("height", "width"), SIZES)
    @pytest.mark.parametrize("label", ["Walk", "A class with a very long name " * 5])
    def test_fits_into_the_frame(self, height, width, label):
        image, box_width = caption(label, height=height, width=width)
        assert box_width <= width
        assert (image[height // 2 :] == 90).all()
        if width > 64:
            assert box_width < width
            assert image[:, box_width - 2 : box_width].max() <= 90  # no letter touches the end

    def test_letters_are_light_on_dark_and_the_bar_colored(self):
        image, box_width = caption("Walk")
        assert image[:40, 10:box_width].max() == 255
        assert (image[1, :2] == (255, 0, 0)).all()
        assert (image[1, 10:box_width] == 90 // 4).all()
        assert (image[:, box_width:] == 90).all()

    def test_grows_with_the_frame(self):
        heights = [
            np.flatnonzero(caption("Walk", height=h, width=w)[0][:, 9, 1] < 90).size for h, w in SIZES[:2]
        ]
        assert heights[1] == pytest.approx(3 * heights[0], rel=0.1)

    def test_long_names_keep_the_confidence(self):
        ends = [caption("name " * 40, text)[0][:30, -80:] for text in ("17%", "99%")]
        assert (ends[0] != ends[1]).any()

    def test_text_may_be_empty(self):
        assert caption("unsure", "")[1] < caption("unsure", "5%")[1]

    @pytest.mark.skipif(int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV 4 knows ASCII alone")
    @pytest.mark.parametrize("name", ["Größe", "走る", "جري"])
    def test_letters_of_many_scripts(self, name):
        known, unknown = (caption(text, "")[0] for text in (name, "?" * len(name)))
        assert (known != unknown).any()

    def test_drawing_twice_gives_the_same(self):
        np.testing.assert_array_equal(caption("Walk", background=10)[0], caption("Walk", background=10)[0])


class TestTimelineStrip:
    def draw(self, position, height=240, width=300, stops=(0.5, 0.5, 1), labels="aba"):
        image = np.full((height, width, 3), 90, np.uint8)
        TimelineStrip(height, width, stops, [class_color(label, CLASSES) for label in labels]).draw(
            image, position
        )
        return image

    def test_past_is_bright_and_future_dim(self):
        image, color = self.draw(0.5), np.array(class_color("a", CLASSES))
        assert (image[-1, 20] == color).all()
        assert (image[-1, 280] == color // 2).all()
        assert (image[:-10] == 90).all()

    @pytest.mark.parametrize("position", [0, 0.25, 1])
    def test_mark_at_the_present_moment(self, position):
        light = np.flatnonzero((self.draw(position)[-1] == 255).all(-1))
        assert 1 <= len(light) <= 2
        assert np.abs(light - position * 300).max() <= 1

    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_sizes(self, height, width):
        image = self.draw(0.3, height, width, (0.2, 1), "ab")
        assert (image[-1, -1] == np.array(class_color("b", CLASSES)) // 2).all()
        assert (image[: height // 2] == 90).all()
