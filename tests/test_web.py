"""The folder for browsers: what is in it, and that it says in Chromium what the library says here."""

import io
import json
import os
import shutil
import subprocess
import tarfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from browser import open_chromium, open_page, serve_files, until

from harkeras.assets.store import find_asset, list_assets
from harkeras.base.files import publish
from harkeras.data.samples import create_sample_video
from harkeras.deploy import export_model, web
from harkeras.inference._window_buffer import WindowBuffer
from harkeras.inference.decisions import Decider, Window
from harkeras.inference.exported import ExportedModel
from harkeras.inference.prediction import predict_on_video
from harkeras.models import create_model
from harkeras.recipe import Recipe, TrainingRecord
from harkeras.video.flow import to_gray
from harkeras.video.reading import iter_frames

pytest.importorskip("tf2onnx", reason="pip install harkeras[onnx]")
pytest.importorskip("onnxruntime", reason="pip install harkeras[onnx]")

CLASSES = ("fall", "walk", "sit")
CLIP = (6, 64, 64, 3)
RECIPE = Recipe(CLASSES, *CLIP[:3], 2.0)
# `create_lrcn_model(4, (10, 64, 64, 3), filters=(8, 16, 24, 24), units=16)`, trained on the sample data set
# of four of its classes and 30 groups, `epochs=60, batch_size=8`.
SMALL_LRCN = Path(__file__).parent / "web" / "small_lrcn.keras"
ACTIONS = ("Walking", "SittingDown", "Falling")
DOWNLOAD_SECONDS = 120


def build(name="lrcn", shape=CLIP, recipe=RECIPE, **options):
    model = create_model(name, len(CLASSES), shape, **options)
    model.recipe = recipe
    return model


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A package that has the engine's two files and others."""
    path = tmp_path_factory.mktemp("engine") / "engine.tgz"
    with tarfile.open(path, "w:gz") as package:
        for name in (*web._ENGINE_FILES, "package/dist/ort.all.js"):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            package.addfile(member, io.BytesIO(name.encode()))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, stand_in):
    record = TrainingRecord(
        "group", 0, 0.2, "names", None, None, ("Anna",), ("Bert",), ("1",), ("fall/Anna",), (), "0"
    )
    model = build(filters=(4, 4, 4, 4), units=4, recipe=replace(RECIPE, temperature=2.0, training=record))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "find_asset", lambda _: stand_in)
        export = export_model(model, tmp_path_factory.mktemp("web") / "page", format="web")
    assert export.largest_difference < 1e-5
    assert "http.server" in str(export)
    return export.path


class TestFolder:
    def test_it_holds_the_page_the_model_and_the_engine_and_no_more(self, folder):
        page = {path.name for path in Path(web.__file__).with_name("_web").iterdir()}
        names = {path.name for path in folder.iterdir()}
        assert names == page | {"encoder.onnx", "head.onnx", "recipe.json", "settings.json", "onnxruntime"}
        engine = {path.name: path.read_text() for path in (folder / "onnxruntime").iterdir()}
        assert engine == {name: member for member, name in web._ENGINE_FILES.items()}

    def test_it_tells_nobody_of_the_training_clips(self, folder):
        assert Recipe.from_json((folder / "recipe.json").read_text()) == RECIPE  # the temperature is inside
        for path in folder.rglob("*.*"):
            assert b"Anna" not in path.read_bytes()

    def test_settings_are_those_of_a_stream(self, folder):
        settings = json.loads((folder / "settings.json").read_text())
        assert settings == {
            "networks": ["encoder.onnx", "head.onnx"],
            "stride_seconds": RECIPE.clip_seconds / RECIPE.frames,
            "smoothing_seconds": 0.5,
            "hysteresis": 0.1,
            "min_seconds": 0.5,
            "threshold": 0.5,
        }

    def test_the_library_takes_it_as_a_model(self, folder, make_video):
        video = make_video("clip.mp4", range(60))
        assert predict_on_video(video, folder, progress=False).classes == CLASSES

    def test_a_model_that_looks_at_whole_clips_is_one_file(self, tmp_path, stand_in, make_video, monkeypatch):
        monkeypatch.setattr(web, "find_asset", lambda _: stand_in)
        clip = keras.Input(CLIP)
        features = keras.layers.GlobalAveragePooling3D()(keras.layers.Conv3D(2, 3)(clip))
        model = keras.Model(clip, keras.layers.Dense(3, activation="softmax")(features))
        model.recipe = RECIPE
        folder = export_model(model, tmp_path / "page", format="web").path
        assert json.loads((folder / "settings.json").read_text())["networks"] == ["model.onnx"]
        assert predict_on_video(make_video("clip.mp4", range(60)), folder, progress=False).classes == CLASSES


class TestRefused:
    def refuse(self, model, message, tmp_path, monkeypatch):
        monkeypatch.setattr(web, "find_asset", lambda _: pytest.fail("nothing must be downloaded"))
        with pytest.raises(ValueError, match=message):
            export_model(model, tmp_path / "page", format="web")
        assert not (tmp_path / "page").exists()

    def test_joints(self, tmp_path, monkeypatch):
        recipe = Recipe(CLASSES, 6, None, None, 2.0, streams="pose", joints=17, coordinates=3)
        model = build("pose_lstm", (6, 17, 3), recipe, units=8)
        self.refuse(model, "the page shows whole frames, not pose", tmp_path, monkeypatch)

    def test_flow(self, tmp_path, monkeypatch):
        recipe = replace(RECIPE, streams="flow", flow_fields=2)
        model = build("convlstm", (6, 64, 64, 4), recipe, filters=(2,))
        self.refuse(model, "the page shows whole frames, not flow", tmp_path, monkeypatch)

    def test_people(self, tmp_path, monkeypatch):
        model = build("convlstm", recipe=replace(RECIPE, subject="person"), filters=(2,))
        self.refuse(model, "not one square around its person", tmp_path, monkeypatch)

    def test_images(self, tmp_path, monkeypatch):
        image = keras.Input((64, 64, 3))
        features = keras.layers.GlobalAveragePooling2D()(image)
        model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(features), name="still")
        model.recipe = replace(RECIPE, frames=1)
        self.refuse(model, "still, which takes images: the page shows clips", tmp_path, monkeypatch)

    def test_two_files(self, tmp_path):
        with pytest.raises(ValueError, match="split must be False for web"):
            export_model(build(), tmp_path / "page", format="web", split=True)


@pytest.fixture(scope="module")
def engine():
    """ONNX Runtime Web, from where the library finds it, else from the registry that npm is told of."""
    asset = list_assets()["onnxruntime_web"]
    try:
        return find_asset("onnxruntime_web", download=False)
    except FileNotFoundError:
        cached = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / asset.file
    npm = shutil.which("npm")
    registry = os.environ.get("npm_config_registry", "https://registry.npmjs.org/")
    if npm:
        command = [npm, "config", "get", "registry"]
        registry = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    cached.parent.mkdir(parents=True, exist_ok=True)
    partial, end = cached.with_name(f"{asset.file}.part"), time.monotonic() + DOWNLOAD_SECONDS
    try:
        url = f"{registry.rstrip('/')}/onnxruntime-web/-/{asset.file}"
        with urllib.request.urlopen(url, timeout=20) as answer, partial.open("wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
                if time.monotonic() > end:
                    raise TimeoutError(f"not here in {DOWNLOAD_SECONDS} s")
    except OSError as error:
        partial.unlink(missing_ok=True)
        pytest.skip(f"no ONNX Runtime Web: {error}")
    publish(partial, cached)
    return find_asset("onnxruntime_web", download=False)


@pytest.fixture(scope="module")
def sample(tmp_path_factory, engine):
    """A folder with the page of a small LRCN, and a video of three of the actions that it knows."""
    folder = tmp_path_factory.mktemp("web")
    create_sample_video(folder / "long.mp4", actions=ACTIONS)
    export_model(SMALL_LRCN, folder / "page", format="web")
    return folder


@pytest.fixture(scope="module")
def wanted(sample):
    """What the library says of the video, as a stream."""
    return predict_on_video(sample / "long.mp4", SMALL_LRCN, causal=True, progress=False)


@pytest.fixture(scope="module")
def site(sample):
    """The address of the page."""
    with serve_files(sample / "page") as url:
        yield url


@pytest.fixture(scope="module")
def chrome(chromium, sample):
    """Chromium, whose camera shows the video."""
    write_camera(sample / "camera.y4m", [frame.image for frame in iter_frames(sample / "long.mp4")])
    switches = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with open_chromium(
        chromium, *switches, f"--use-file-for-fake-video-capture={sample / 'camera.y4m'}"
    ) as browser:
        yield browser


@pytest.fixture
def page(chrome, site):
    """The page, ready; all that it asks for must come from its own host."""
    page = open_page(chrome, "about:blank")
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(site)
    page.locator("body[data-ready]").wait_for()
    yield page
    page.context.close()
    assert [url for url in asked if not url.removeprefix("blob:").startswith(site)] == []
    assert errors == []


def write_camera(path, images):
    """Write what Chromium's camera shows, as Y4M: the file's own rate holds."""
    import av

    height, width = images[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420jpeg\n".encode())
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            file.write(b"FRAME\n" + frame.to_ndarray().tobytes())


def segments_of(page):
    """The labels on the page in order: start and end in seconds, and the label."""
    return page.evaluate(
        """async () => {
            const { timeline } = await import("./app.js");
            return timeline.segments().map(({ start, end, label }) => [start, end, label]);
        }"""
    )


@pytest.mark.slow
@pytest.mark.browser
class TestInChromium:
    def test_a_dropped_video_is_named_as_the_library_names_it(self, page, sample, wanted):
        page.locator("#file").set_input_files(sample / "long.mp4")
        page.locator("body[data-done]").wait_for()
        segments = segments_of(page)
        assert [label for *_, label in segments] == [segment.label for segment in wanted.segments]
        borders = [[start, end] for start, end, _ in segments]
        stride = wanted.windows[1, 0] - wanted.windows[0, 0]
        np.testing.assert_allclose(borders, [segment[:2] for segment in wanted.segments], atol=2 * stride)
        smoothed = page.evaluate(
            """async () => (await import("./app.js")).timeline.windows.map(({ smoothed }) => smoothed)"""
        )
        # Browsers convert and scale colors a little otherwise than FFmpeg.
        differences = np.abs(np.array(smoothed) - wanted.smoothed)
        assert np.median(differences) < 0.01
        assert differences.mean() < 0.02
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as CSV").click()
        lines = Path(download.value.path()).read_text().splitlines()
        assert lines[0] == "start_seconds,end_seconds,label,confidence"
        assert [line.split(",")[2].strip('"') for line in lines[1:]] == [label for *_, label in segments]

    def test_the_camera_is_named_as_the_library_names_its_video(self, page, wanted):
        labels = [segment.label for segment in wanted.segments]
        page.locator("#camera").click()
        page.locator("#speed").filter(has_text="frames/s").wait_for()
        rows = page.locator("#segments .label")
        until(lambda: labels[-1] in rows.all_inner_texts())
        assert rows.all_inner_texts()[::-1][: len(labels)] == labels  # the newest stands on top
        speed = page.locator("#speed").inner_text()
        assert int(speed.split()[0]) > 0
        page.locator("#stop").click()
        page.locator("#camera").wait_for()
        assert page.locator("#video").evaluate("video => video.srcObject") is None

    def test_labels_are_decided_by_the_same_rules(self, page):
        rng = np.random.default_rng(3)
        for settings in (
            {"stride_seconds": 0.2},  # 2.5 windows are averaged
            {"stride_seconds": 0.1, "smoothing_seconds": 0.3, "hysteresis": 0.2, "min_seconds": 0.35},
            {"stride_seconds": 0.5, "smoothing_seconds": 0.0, "min_seconds": 0.0, "threshold": 0.0},
            {"stride_seconds": 0.1, "thresholds": {"fall": 0.3}},
            {"stride_seconds": 0.1, "thresholds": {"fall": 0.3, "walk": 0.6, "sit": 0.7}},
        ):
            windows = random_windows(rng, settings["stride_seconds"])
            assert decide_in_browser(page, settings, windows) == decide_here(settings, windows)

    def test_pictures_are_resized_by_area(self, page):
        image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
        for interpolation, how in (("area", cv2.INTER_AREA), ("bilinear", cv2.INTER_LINEAR)):
            small = page.evaluate(
                """async ([data, how]) => {
                    const { resize } = await import("./picture.js");
                    return Array.from(resize({ data, width: 70, height: 50 }, 16, 24, how));
                }""",
                [np.dstack([image, np.full((50, 70, 1), 255, np.uint8)]).ravel().tolist(), interpolation],
            )
            wanted = cv2.resize(image, (24, 16), interpolation=how).astype(int)
            assert np.abs(np.reshape(small, (16, 24, 3)) - wanted).max() <= 1

    def test_a_stream_hands_its_states_on(self, tmp_path, chrome, engine):
        stream = counting_stream()
        path = export_model(stream, tmp_path / "page", format="web").path
        model, clip = ExportedModel(path), np.random.default_rng(0).integers(0, 256, CLIP, np.uint8)
        wanted, _ = model.follow(clip[None], model.create_states(1))
        with serve_files(path) as url:
            page = open_page(chrome, url)
            page.locator("body[data-ready]").wait_for()
            probabilities = page.evaluate(
                """async ([frames, recipe]) => {
                    const { Model } = await import("./model.js");
                    const model = await Model.load(recipe, ["model.onnx"]);
                    return model.answer(frames.map((pixels) => ({ pixels: Uint8Array.from(pixels) })));
                }""",
                [clip.reshape(len(clip), -1).tolist(), {"height": 64, "width": 64, "streams": "rgb"}],
            )
            page.context.close()
        np.testing.assert_allclose(probabilities, wanted[0], atol=1e-4)

    def test_pictures_become_gray_as_here(self, page):
        image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
        gray = page.evaluate(
            """async (pixels) => Array.from((await import("./picture.js")).toGray(pixels))""",
            image.ravel().tolist(),
        )
        assert np.abs(np.reshape(gray, (9, 7)) - to_gray(image).astype(int)).max() <= 1

    def test_what_is_no_video_is_said(self, page, sample):
        page.locator("#file").set_input_files(sample / "page" / "app.js")
        page.locator("#status.error").filter(has_text="cannot play the file").wait_for()
        page.locator("#file").set_input_files(sample / "long.mp4")  # and the next one is looked at
        page.locator("#speed").filter(has_text="seen").wait_for()

    def test_the_camera_windows_are_those_of_a_stream(self, page):
        """Whatever the rate of the camera, however late a look, and behind a gap."""
        rng = np.random.default_rng(4)
        for rate, stride in ((25, 0.25), (7, 0.25), (25, 1.0), (11, 0.3)):
            steps = rng.uniform(0.5, 1.5, 300) / rate
            steps[150] = 10
            seconds = np.cumsum(steps)
            recipe = replace(RECIPE, frames=8)
            frames_seen = stream_windows(recipe, stride, seconds)
            assert camera_windows(page, recipe, stride, seconds) == frames_seen

    def test_a_camera_that_is_not_allowed_is_said(self, page):
        page.evaluate(
            """() => {
                const refused = new DOMException("", "NotAllowedError");
                navigator.mediaDevices.getUserMedia = () => Promise.reject(refused);
            }"""
        )
        page.locator("#camera").click()
        page.locator("#status.error").filter(has_text="The camera was not allowed.").wait_for()
        assert page.locator("#camera").is_visible()


def counting_stream():
    """A stream that sums up the colors of frames, and counts them."""
    inputs = {
        "clip": keras.Input((1, 64, 64, 3), name="clip"),
        "total": keras.Input((3,), name="total"),
        "count": keras.Input((1,), dtype="int32", name="count"),
    }
    color = keras.layers.GlobalAveragePooling3D()(keras.layers.Rescaling(1 / 255)(inputs["clip"]))
    total = inputs["total"] * 0.5 + color
    count = inputs["count"] + 1
    mean = 50 * total / keras.ops.cast(count, "float32")
    outputs = {"probabilities": keras.ops.softmax(mean), "total": total, "count": count}
    model = keras.Model(inputs, outputs, name="stream")
    model.recipe = RECIPE
    return model


def random_windows(rng, stride):
    """Windows (start, probabilities) whose classes hold for a while; there are a gap and a clock set back."""
    rows = []
    while len(rows) < 300:
        rows += [rng.dirichlet(rng.choice([0.3, 1, 8], 3)) for _ in range(rng.integers(1, 3))]
        favorite = rng.dirichlet([0.2] * 3)
        rows += [0.8 * favorite + 0.2 * rng.dirichlet([1] * 3) for _ in range(rng.integers(1, 15))]
    starts = stride * np.arange(len(rows))
    starts[100:] += 30
    starts[200:] -= 50
    return [(float(start), row.tolist()) for start, row in zip(starts, rows, strict=True)]


def decide_here(settings, windows):
    decider, decided = Decider(CLASSES, **settings), []
    for start, row in windows:
        shown = decider.update(Window(start, start + 2, np.array(row)))
        decided.append([shown, decider.label, decider.since, round(decider.confidence, 6)])
    return decided


def decide_in_browser(page, settings, windows):
    defaults = {"smoothing_seconds": 0.5, "hysteresis": 0.1, "min_seconds": 0.5, "threshold": 0.5}
    return page.evaluate(
        """async ([recipe, settings, windows]) => {
            const { Decider } = await import("./decisions.js");
            const decider = new Decider(recipe, settings);
            return windows.map(([start, probabilities]) => {
                const shown = decider.update({ start, end: start + 2, probabilities });
                return [shown, decider.label, decider.since, Math.round(1e6 * decider.confidence) / 1e6];
            });
        }""",
        [
            {"classes": CLASSES, "thresholds": settings.get("thresholds", {})},
            defaults | {name: value for name, value in settings.items() if name != "thresholds"},
            windows,
        ],
    )


def stream_windows(recipe, stride, seconds):
    """The times of the frames in each window, as the library chooses them.

    Behind a gap it also gives the windows that had begun before; the page leaves them out.
    """
    buffer = WindowBuffer(recipe.frames, recipe.clip_seconds, stride)
    images = seconds[:, None]
    windows = []
    for i, now in enumerate(seconds):
        for clips in buffer.push(images[i : i + 1], buffer.check([now], 1))[-1:]:
            windows += [[float(clips.frames[row].image[0]) for row in rows] for rows in clips.rows]
    return windows


def camera_windows(page, recipe, stride, seconds):
    return page.evaluate(
        """async ([recipe, settings, seconds]) => {
            const { CameraWindows } = await import("./sampling.js");
            const [windows, taken] = [new CameraWindows(recipe, settings), []];
            let shown = null;
            for (const now of seconds) {
                const before = shown;
                windows.push(now, () => before);
                shown = now;
                const window = windows.take();
                if (window) taken.push(window.frames.map((frame) => frame.pixels));
            }
            return taken;
        }""",
        [
            {"frames": recipe.frames, "clip_seconds": recipe.clip_seconds},
            {"stride_seconds": stride},
            seconds.tolist(),
        ],
    )
