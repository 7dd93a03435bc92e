import cv2
import keras
import numpy as np
import pytest

from harkeras.data.datasets import Dataset
from harkeras.data.images import create_image_dataset
from harkeras.evaluation.scores import evaluate
from harkeras.inference.prediction import predict_image, predict_single_action
from harkeras.models.saving import load_model, save_model
from harkeras.recipe import Recipe
from harkeras.training.loop import train
from harkeras.video.images import read_image
from harkeras.video.reading import VideoError

JUMPING, RUNNING = ("x.bmp", "y.webp", "z.jpeg"), ("a.png", "b.JPG", "größe 图.png")
RED, GREEN, BLUE, WHITE = (250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 250)


def write(path, image, exif_turn=None):
    """Encode an RGB image; `exif_turn` is the value of the EXIF orientation of a JPEG."""
    _, data = cv2.imencode(path.suffix, image[..., ::-1])
    data = data.tobytes()
    if exif_turn:
        tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + bytes([0, exif_turn]) + b"\0\0\0\0\0\0"
        block = b"Exif\0\0" + tiff
        data = data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def quarters(height=32, width=48, colours=(RED, GREEN, BLUE, WHITE)):
    """Four areas of one colour each: top left, top right, bottom left, bottom right."""
    tiles = np.array(colours, np.uint8).reshape(2, 2, 3)
    return tiles.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def colours_of(image):
    """The colours in the middle of the four quarters."""
    height, width = image.shape[:2]
    rows, columns = (height // 4, height * 3 // 4), (width // 4, width * 3 // 4)
    return [tuple(image[row, column].round(-1).tolist()) for row in rows for column in columns]


def rounded(*colours):
    return [tuple(np.array(colour).round(-1).tolist()) for colour in colours]


def annotation(left, top, right, bottom):
    box = "".join(
        f"<{name}>{value}</{name}>"
        for name, value in (("xmax", right), ("xmin", left), ("ymax", bottom), ("ymin", top))
    )
    return f"<annotation><object><name>person</name><bndbox>{box}</bndbox></object></annotation>"


@pytest.fixture
def folders(tmp_path):
    """Two classes of three pictures; one of them lies deeper."""
    write(tmp_path / "running" / "a.png", quarters())
    write(tmp_path / "running" / "deep" / "b.JPG", quarters())
    write(tmp_path / "running" / "größe 图.png", quarters(20, 10))
    for name in JUMPING:
        write(tmp_path / "jumping" / name, quarters(16, 16))
    (tmp_path / "jumping" / "notes.txt").write_text("no picture")
    (tmp_path / "jumping" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    return tmp_path


@pytest.fixture
def stanford(tmp_path):
    """Two actions in the layout of Stanford-40, two pictures to train on and one to test on."""
    for split in ("train", "test"):
        (tmp_path / "ImageSplits").mkdir(exist_ok=True)
        (tmp_path / "ImageSplits" / f"{split}.txt").write_text("all of them.jpg\n")
    (tmp_path / "ImageSplits" / "actions.txt").write_text("action_name number\n")
    (tmp_path / "XMLAnnotations").mkdir()
    for action in ("waving_hands", "blowing_bubbles"):
        names = [f"{action}_{i:03}.jpg" for i in (1, 2, 3)]
        (tmp_path / "ImageSplits" / f"{action}_train.txt").write_text(f"{names[2]}\r\n{names[0]}\r\n")
        (tmp_path / "ImageSplits" / f"{action}_test.txt").write_text(f"{names[1]}\n")
        for name in names:
            write(tmp_path / "JPEGImages" / name, quarters(80, 160))
            xml = (tmp_path / "XMLAnnotations" / name).with_suffix(".xml")
            xml.write_text(annotation(80, 40, 160, 80))  # the white quarter
    return tmp_path


class TestReadImage:
    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "a.tif", "größe 图.png"])
    def test_rgb_of_any_name(self, tmp_path, name):
        image = read_image(write(tmp_path / name, quarters()))
        assert (image.shape, image.dtype) == ((32, 48, 3), np.uint8)
        assert colours_of(image.astype(int)) == rounded(RED, GREEN, BLUE, WHITE)

    def test_size(self, tmp_path):
        path = write(tmp_path / "a.png", quarters())
        for height, width in ((8, 6), (64, 96), (64, 24)):
            image = read_image(path, height, width)
            assert image.shape == (height, width, 3)
            assert colours_of(image) == rounded(RED, GREEN, BLUE, WHITE)
        assert read_image(path, height=16).shape == (16, 48, 3)

    def test_making_it_smaller_averages(self, tmp_path):
        stripes = np.zeros((64, 64, 3), np.uint8)
        stripes[:, ::2] = 200
        image = read_image(write(tmp_path / "a.png", stripes), 8, 8)
        assert (abs(image.astype(int) - 100) <= 1).all()

    def test_upright(self, tmp_path):
        """Orientation 6: what is stored must be turned clockwise."""
        image = read_image(write(tmp_path / "a.jpg", quarters(), exif_turn=6))
        assert image.shape == (48, 32, 3)
        assert colours_of(image.astype(int)) == rounded(BLUE, RED, WHITE, GREEN)

    def test_grey_and_transparent(self, tmp_path):
        grey = np.full((9, 7), 90, np.uint8)
        cv2.imwrite(str(tmp_path / "grey.png"), grey)
        assert np.array_equal(read_image(tmp_path / "grey.png"), np.full((9, 7, 3), 90))
        cv2.imwrite(str(tmp_path / "clear.png"), np.full((9, 7, 4), 90, np.uint8))
        assert read_image(tmp_path / "clear.png").shape == (9, 7, 3)

    def test_refusals(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no image at .*a.jpg"):
            read_image(tmp_path / "a.jpg")
        for content in (b"", b"no picture"):
            (tmp_path / "a.jpg").write_bytes(content)
            with pytest.raises(VideoError, match=r"a.jpg: not an image that can be decoded"):
                read_image(tmp_path / "a.jpg")


class TestFoldersOfClasses:
    def test_all(self, folders):
        dataset = create_image_dataset(folders, height=12, width=10)
        assert dataset.classes == ("jumping", "running")
        features, labels, paths = dataset
        assert (features.shape, features.dtype) == ((6, 12, 10, 3), np.uint8)
        assert (labels.tolist(), labels.dtype) == ([0, 0, 0, 1, 1, 1], np.int64)
        assert [path.name for path in paths] == [*JUMPING, *RUNNING]
        for image in features:
            assert abs(np.array(colours_of(image.astype(int))) - (RED, GREEN, BLUE, WHITE)).max() <= 20
        one = create_image_dataset(folders, height=12, width=10, workers=1)
        assert np.array_equal(one.features, features)

    def test_order_of_classes(self, folders):
        dataset = create_image_dataset(folders, ["running", "jumping"])
        assert dataset.features.shape == (6, 224, 224, 3)
        assert [path.parts[-2] for path in dataset.video_paths] == [
            "running",
            "deep",
            "running",
            *["jumping"] * 3,
        ]
        assert set(create_image_dataset(folders, ["jumping"]).labels) == {0}

    def test_what_cannot_be_read_is_reported(self, folders):
        (folders / "jumping" / "x.bmp").write_bytes(b"broken")
        (folders / "running" / "deep" / "b.JPG").write_bytes(b"")
        with pytest.warns(UserWarning, match=r"(?s)2 of 6 images were left out:.*x.bmp: not an.*b.JPG: not"):
            features, labels, paths = create_image_dataset(folders, height=8, width=8)
        assert (len(features), labels.tolist()) == (4, [0, 0, 1, 1])
        assert [path.name for path in paths] == ["y.webp", "z.jpeg", "a.png", "größe 图.png"]
        for image, path in zip(features, paths, strict=True):
            assert np.array_equal(image, read_image(path, 8, 8))
        with pytest.raises(VideoError, match=r"x.bmp: not an image"):
            create_image_dataset(folders, strict=True)

    def test_nothing_left_of_a_class(self, folders):
        for path in (folders / "jumping").glob("?.*"):
            path.write_bytes(b"broken")
        with pytest.raises(ValueError, match=r"class 'jumping' has no image that can be read, the .*x.bmp"):
            create_image_dataset(folders)

    def test_refusals(self, folders, tmp_path_factory):
        with pytest.raises(FileNotFoundError, match=r"no folder at .*nowhere"):
            create_image_dataset(folders / "nowhere")
        with pytest.raises(ValueError, match="one folder of images per class, or Stanford-40's JPEGImages"):
            create_image_dataset(tmp_path_factory.mktemp("empty"))
        for name in ("height", "width", "workers"):
            with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
                create_image_dataset(folders, **{name: 0})
        with pytest.raises(ValueError, match="split must be 'train', 'test' or None, got 'val'"):
            create_image_dataset(folders, split="val")
        with pytest.raises(ValueError, match="split must be None for folders of classes, got 'train'"):
            create_image_dataset(folders, split="train")
        with pytest.raises(ValueError, match=r"box_margin must be None where .* has no XMLAnnotations"):
            create_image_dataset(folders, box_margin=0.1)
        with pytest.raises(ValueError, match="classes must be among jumping, running, got 'flying'"):
            create_image_dataset(folders, ["flying"])
        with pytest.raises(ValueError, match=r"classes must be different names, got \['running', 'runn"):
            create_image_dataset(folders, ["running", "running"])
        (folders / "flying").mkdir()
        with pytest.raises(ValueError, match=r"the class 'flying' has no image: none ends in .jpg"):
            create_image_dataset(folders)


class TestStanford40:
    def test_splits(self, stanford):
        assert create_image_dataset(stanford).classes == ("blowing_bubbles", "waving_hands")
        names = {
            split: [
                path.stem[-3:]
                for path in create_image_dataset(stanford, split=split, height=8, width=8).video_paths
            ]
            for split in ("train", "test", None)
        }
        assert names == {"train": ["001", "003"] * 2, "test": ["002"] * 2, None: ["001", "002", "003"] * 2}
        dataset = create_image_dataset(stanford, split="train", height=8, width=8)
        assert dataset.labels.tolist() == [0, 0, 1, 1]
        assert all(path.parent.name == "JPEGImages" for path in dataset.video_paths)

    def test_boxes(self, stanford):
        features = create_image_dataset(
            stanford, ["waving_hands"], height=20, width=20, box_margin=0
        ).features
        assert (features > 200).all()  # the white quarter alone, but for what JPEG smears
        features = create_image_dataset(
            stanford, ["waving_hands"], height=20, width=20, box_margin=0.25
        ).features
        # 100 x 50 pixels are left: a quarter of the box's size on the left and above, cut off at the others.
        assert np.array_equal(np.flatnonzero((features[0, -1] < 100).any(axis=-1)), np.arange(4))
        assert np.array_equal(np.flatnonzero((features[0, :, -1] < 100).any(axis=-1)), np.arange(4))

    def test_boxes_that_are_missing(self, stanford):
        folder = stanford / "XMLAnnotations"
        (folder / "waving_hands_001.xml").unlink()
        (folder / "waving_hands_002.xml").write_text("<annotation>")
        (folder / "blowing_bubbles_001.xml").write_text("<annotation/>")
        (folder / "blowing_bubbles_002.xml").write_text(annotation(200, 0, 300, 40))
        reasons = (
            "blowing_bubbles_001.xml: holds no object with a bndbox",
            "blowing_bubbles_002.xml: its box lies outside the image of 160 x 80 pixels",
            "no box at .*waving_hands_001.xml",
            "waving_hands_002.xml: holds no object",
        )
        with pytest.warns(UserWarning, match="(?s)4 of 6 images were left out:.*" + ".*".join(reasons)):
            dataset = create_image_dataset(stanford, box_margin=0)
        assert [path.stem for path in dataset.video_paths] == ["blowing_bubbles_003", "waving_hands_003"]
        with pytest.raises(VideoError, match=reasons[0]):
            create_image_dataset(stanford, box_margin=0, strict=True)

    def test_images_that_are_missing(self, stanford):
        (stanford / "JPEGImages" / "waving_hands_001.jpg").unlink()
        with pytest.warns(UserWarning, match=r"1 of 6 images were left out:\n  no image at .*hands_001.jpg"):
            create_image_dataset(stanford)
        with pytest.raises(FileNotFoundError, match=r"no image at .*hands_001.jpg"):
            create_image_dataset(stanford, strict=True)

    def test_refusals(self, stanford):
        with pytest.raises(ValueError, match=r"box_margin must be at least 0, got -0.1"):
            create_image_dataset(stanford, box_margin=-0.1)
        for path in (stanford / "ImageSplits").glob("*_*.txt"):
            path.unlink()
        with pytest.raises(ValueError, match=r"ImageSplits must hold files named <action>_train.txt"):
            create_image_dataset(stanford)


def small_model():
    return keras.Sequential(
        [
            keras.Input((24, 24, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 5, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model that tells pictures that are bright at the top from others, its file, and a test picture."""
    folder = tmp_path_factory.mktemp("bright")
    rng = np.random.default_rng(0)
    for i in range(12):
        for name, rows in (("top", slice(12)), ("bottom", slice(12, 24))):
            image = rng.integers(0, 60, (24, 24, 3), np.uint8)
            image[rows] += 150
            write(folder / name / f"{i:02}.png", image)
    features, labels, paths = create_image_dataset(folder, height=24, width=24)
    keras.utils.set_random_seed(27)
    model = small_model()
    options = {"epochs": 6, "batch_size": 8, "verbose": False}
    train(
        model,
        Dataset(features, labels, classes=["bottom", "top"]),
        optimizer=keras.optimizers.Adam(1e-2),
        **options,
    )
    path = save_model(model, folder / "model.keras")
    return model, path, features, labels, paths


class TestPredictImage:
    def test_train_evaluate_save_predict(self, trained):
        model, path, features, labels, paths = trained
        assert model.recipe.classes == ("bottom", "top")
        assert (model.recipe.frames, model.recipe.height, model.recipe.width) == (1, 24, 24)
        assert evaluate(model, Dataset(features, labels, classes=["bottom", "top"])).accuracy > 0.8
        prediction = predict_image(paths[-1], path)
        expected = keras.ops.convert_to_numpy(load_model(path)(features[-1:]))[0]
        assert list(prediction.probabilities) == ["bottom", "top"]
        assert list(prediction.probabilities.values()) == pytest.approx(expected, abs=1e-5)
        assert prediction.label == ("bottom", "top")[expected.argmax()]
        assert prediction.confidence == pytest.approx(expected.max(), abs=1e-5)

    def test_arrays_of_any_size(self, trained):
        model, _, features, _, paths = trained
        assert predict_image(features[-1], model) == predict_image(paths[-1], model)
        large = features[0].repeat(3, axis=0).repeat(2, axis=1)
        assert predict_image(large, model).confidence == pytest.approx(
            predict_image(features[0], model).confidence, abs=1e-4
        )

    def test_a_model_without_a_recipe(self, trained):
        model, _, features, _, _ = trained
        foreign = keras.models.clone_model(model)
        foreign.set_weights(model.get_weights())
        assert predict_image(features[0], foreign, classes=["bottom", "top"]) == predict_image(
            features[0], model
        )
        swapped = predict_image(
            features[0][..., ::-1].copy(), foreign, classes=("a", "b"), channel_order="bgr"
        )
        assert list(swapped.probabilities.values()) == pytest.approx(
            list(predict_image(features[0], model).probabilities.values()), abs=1e-6
        )
        with pytest.raises(ValueError, match="classes are missing: the model has no recipe"):
            predict_image(features[0], foreign)

    def test_refusals(self, trained, tmp_path):
        model, _, features, _, _ = trained
        with pytest.raises(FileNotFoundError, match=r"no image at .*nothing.png"):
            predict_image(tmp_path / "nothing.png", model)
        for image in (features[0] / 255, features, features[0, :, :, 0]):
            with pytest.raises(ValueError, match=r"image must be uint8 RGB \(H, W, 3\), got "):
                predict_image(image, model)
        clips = keras.Sequential([keras.Input((4, 8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
        clips.recipe = Recipe(("a", "b"), 4, 8, 8, 1.0)
        with pytest.raises(ValueError, match=r"model must take images \(B, H, W, 3\) of fixed size, got"):
            predict_image(features[0], clips)
        with pytest.raises(ValueError, match=r"must take clips .*, not images, got \(None, 24, 24, 3\)"):
            predict_single_action("x.mp4", model)
