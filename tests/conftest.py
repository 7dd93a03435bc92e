"""Fixtures of all tests: videos whose pixels tell the frame's index, and which marked tests run."""

import atexit
import http.server
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from fractions import Fraction
from pathlib import Path

# Both must be set before TensorFlow and matplotlib are imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["MPLBACKEND"] = "Agg"
if os.environ.get("KERAS_BACKEND") == "jax" and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Most tests compile the same small models.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="harkeras-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import av
import numpy as np
import pytest
from browser import app, app_folder, browser, visit  # noqa: F401 (fixtures)

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# The first of the four rows of blocks in a coded frame; it betrays BGR, flips and turns.
# The others hold 12 bits, the highest first.
MARKER = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)], np.uint8)


@pytest.fixture(autouse=True, scope="module")
def seeded_module():
    """Give what a module's fixtures build the same random weights, whatever ran before it."""
    _seed()


@pytest.fixture(autouse=True)
def seeded_test(seeded_module):
    """Give each test the same random weights, whatever ran before it."""
    _seed()


@pytest.fixture
def eager():
    """Run small models step by step: tracing them takes longer than all that they do."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def _seed():
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(27)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config, items):
    """Leave out `slow` and `network` unless asked for, and skip what this machine cannot run."""
    asked = config.getoption("markexpr")
    left_out = {name for name in ("slow", "network") if name not in asked}
    if config.getoption("--slow"):
        left_out.discard("slow")
    deselected = [item for item in items if any(item.get_closest_marker(name) for name in left_out)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]
    for item in items:
        if item.get_closest_marker("real_data") and not REAL_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason="no real clips: ../shared/data is absent"))
        if item.get_closest_marker("tensorflow_only") and BACKEND != "tensorflow":
            item.add_marker(pytest.mark.skip(reason=f"is about Keras on TensorFlow, this is {BACKEND}"))
        if item.get_closest_marker("browser") and not find_chromium():
            item.add_marker(pytest.mark.skip(reason="no Chromium on this machine"))


def find_chromium():
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


@pytest.fixture(scope="session")
def real_data():
    """The folder of real clips; for tests marked `real_data`."""
    if not REAL_DATA.is_dir():
        pytest.skip("no real clips: ../shared/data is absent")
    return REAL_DATA


@pytest.fixture(scope="session")
def chromium():
    """The path of a Chromium; for tests marked `browser`."""
    path = find_chromium()
    if not path:
        pytest.skip("no Chromium on this machine")
    return path


PAGE = """<video id="v" muted src="clip.mp4"></video><canvas id="c"></canvas><script>
const send = result => fetch("/result", {method: "POST", body: JSON.stringify(result)});
v.onerror = () => send({error: v.error.message});
v.onended = () => {
  c.width = v.videoWidth; c.height = v.videoHeight;
  const canvas = c.getContext("2d");
  canvas.drawImage(v, 0, 0);
  const middle = canvas.getImageData(c.width / 2, c.height / 2, 1, 1).data;
  send({width: v.videoWidth, height: v.videoHeight, seconds: v.currentTime, colour: [...middle]});
};
v.play().catch(error => send({error: String(error)}));
</script>"""


@pytest.fixture
def play_in_browser(chromium, tmp_path):
    """Return a function that plays a video in Chromium and says what came of it."""

    def play(video):
        folder = tmp_path / "page"
        folder.mkdir()
        shutil.copy(video, folder / "clip.mp4")
        (folder / "index.html").write_text(PAGE)
        return _open_page(folder, chromium)

    return play


def _open_page(folder, chromium):
    """Serve the folder, open its index.html, and return what the page posts to /result."""
    results = queue.Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def do_POST(self):
            results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    switches = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
        "disable-component-update disable-sync autoplay-policy=no-user-gesture-required"
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [chromium, *(f"--{switch}" for switch in switches.split())]
        command += [f"--user-data-dir={folder / 'profile'}", f"http://127.0.0.1:{server.server_port}/"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return results.get(timeout=60)
        finally:
            browser.terminate()
            browser.wait(20)
            server.shutdown()


@pytest.fixture(scope="session")
def coded_frame():
    """`coded_frame(index, height=64, width=96)`: an RGB frame from which `index_of` reads the index."""
    return make_coded_frame


@pytest.fixture(scope="session")
def index_of():
    """`index_of(frame)`: the index (0-4095) coded in a frame of any size; fails on BGR, flips and turns."""
    return read_coded_frame


@pytest.fixture(scope="session")
def encode():
    """`encode(path, indices=range(60), ...)`: see `encode_video`; for fixtures that outlive one test."""
    return encode_video


@pytest.fixture
def make_video(tmp_path):
    """`make_video(name, indices=range(60), ...)`: encode coded frames to a file; see `encode_video`."""

    def make(name="clip.mp4", indices=range(60), **options):
        return encode_video(tmp_path / name, indices, **options)

    return make


@pytest.fixture(scope="session")
def write_huge_header():
    """`write_huge_header(path)`: a small AVI file whose header says 16384 x 16384 pixels."""

    def write(path, height=48, width=64):
        encode_video(path, range(2), codec="ffv1", height=height, width=width)
        sizes = [int(side).to_bytes(4, "little") for side in (width, height)]
        path.write_bytes(path.read_bytes().replace(b"".join(sizes), (16384).to_bytes(4, "little") * 2))
        return path

    return write


def make_coded_frame(index, height=64, width=96):
    bits = [(index >> bit) & 1 for bit in range(11, -1, -1)]
    code = np.array(bits, np.uint8).reshape(3, 4, 1) * np.full(3, 255, np.uint8)
    blocks = np.concatenate([MARKER[None], code])  # (4, 4, 3)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    return blocks[rows[:, None], columns]


def read_coded_frame(frame):
    frame = np.asarray(frame, np.float32)
    if frame.max() <= 1:
        frame = frame * 255
    blocks = np.array(
        [[_middle(block) for block in np.array_split(row, 4, 1)] for row in np.array_split(frame, 4)]
    )
    assert ((blocks[0] > 128) == (MARKER > 128)).all(), f"the marker row is {blocks[0].round().tolist()}"
    light = blocks[1:].mean(-1).ravel()
    assert (abs(light - 128) > 50).all(), f"a mixture of frames: {light.round().tolist()}"
    return int("".join(str(int(value > 128)) for value in light), 2)


def _middle(block):
    height, width = block.shape[:2]
    return block[height // 4 : height - height // 4, width // 4 : width - width // 4].mean((0, 1))


def encode_video(
    path,
    indices=range(60),
    *,
    codec="libx264",
    pix_fmt="yuv420p",
    fps=25,
    gop=12,
    b_frames=0,
    height=64,
    width=96,
    ticks=None,
    time_base=None,
    rotation=0,
    audio_seconds=0,
    container_options=None,
    **options,
):
    """Encode one coded frame per index.

    Args:
        ticks: Presentation time of each frame in units of `time_base`; 0, 1, 2, ... by default.
        time_base: Seconds per tick; 1 / fps by default.
        rotation: Counter-clockwise degrees by which a player turns the picture; it is stored turned back.
        audio_seconds: Length of a silent AAC track; none by default.
        options: Of the codec, such as `crf="20"`; a dash in a name is written as `__`.
    """
    fps = Fraction(fps)
    with av.open(str(path), "w", options=container_options or {}) as container:
        options = {name.replace("__", "-"): value for name, value in options.items()}
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = (width, height) if rotation % 180 else (height, width)
        stream.pix_fmt = pix_fmt
        stream.gop_size = gop
        stream.max_b_frames = b_frames
        stream.codec_context.time_base = time_base = Fraction(time_base or 1 / fps)
        if rotation:
            stream.set_display_rotation(rotation)
        if audio_seconds:
            _add_silence(container, audio_seconds)
        for position, index in enumerate(indices):
            image = np.rot90(make_coded_frame(index, height, width), -rotation // 90)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = position if ticks is None else ticks[position]
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _add_silence(container, seconds):
    stream = container.add_stream("aac", rate=16000)
    stream.layout = "mono"
    for start in range(0, round(seconds * 16000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def sample_dir(tmp_path_factory):
    """A small sample data set: 2 classes, 4 groups, 16 clips."""
    from harkeras import create_sample_dataset

    folder = tmp_path_factory.mktemp("sample")
    return create_sample_dataset(folder, classes=("SittingDown", "StandingUp"), groups=4, clips_per_group=2)
