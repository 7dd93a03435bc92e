"""Pages as a person uses them: a server on a free port, and Chromium in front of it."""

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import av
import pytest

ASSETS = Path(__file__).resolve().parents[2] / "shared" / "models"
SECONDS = 90  # a busy machine may need that long to load TensorFlow


class App:
    """A server of the app in a folder, which has its models in `saved_models`."""

    def __init__(self, folder, *options):
        self.folder, self.options, self.process = folder, options, None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [
            sys.executable,
            "-m",
            "harkeras",
            "app",
            "--no-browser",
            "--port",
            str(self.port),
            *self.options,
        ]
        environment = {"HARKERAS_ASSETS": str(ASSETS)} | os.environ  # weights, where there are any
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5):
                return
            time.sleep(0.2)
        pytest.fail(f"the server did not start: {(self.folder / 'server.log').read_text()}")

    def kill(self):
        """End the server as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)


@contextmanager
def serve(folder, *options):
    """Run the app in a folder."""
    app = App(folder, *options)
    app.start()
    try:
        yield app
    finally:
        app.stop()


@contextmanager
def serve_files(folder):
    """Serve the files of a folder, as any static host does."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


_running = []  # Playwright while a browser is open: a second one would not start beside it


@contextmanager
def open_chromium(path, *switches):
    """Run Chromium; nothing that it is asked for leaves this machine."""
    with _play() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", *switches],
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _play():
    if _running:
        yield _running[0]
        return
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        _running.append(playwright)
        try:
            yield playwright
        finally:
            _running.clear()


def open_page(browser, url, **options):
    """Open a page as a visitor of its own."""
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(1000 * SECONDS)
    page.goto(url)
    return page


def until(condition, seconds=SECONDS):
    """Wait until something is so; fail if it never is."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it has not come true in time"
        time.sleep(0.2)


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def upload(page, *files):
    page.locator("input[type=file]").set_input_files(*files)


def video(page, expression):
    """Return what a script says of the first video, `v`."""
    return page.evaluate(f"(() => {{ const v = document.querySelector('video'); return {expression}; }})()")


@pytest.fixture(scope="session")
def app_folder(tmp_path_factory, sample_dir):
    """The folder of the server: recordings, a video of two actions, and a model that has seen little."""
    from harkeras import create_sample_video, train_on_folder

    folder = tmp_path_factory.mktemp("app")
    options = {"input_shape": (8, 64, 64, 3), "epochs": 1, "batch_size": 8}
    train_on_folder(sample_dir, "lrcn", output_dir=folder / "saved_models", **options)
    create_sample_video(folder / "long.mp4", actions=("SittingDown", "StandingUp"))
    for number in range(6):
        actions = ("Falling", "Walking") if number % 2 else ("Walking", "Falling")
        create_sample_video(folder / "recordings" / f"rec{number}.mp4", actions=actions, group=110 + number)
    return folder


@pytest.fixture(scope="session")
def app(app_folder):
    with serve(app_folder, "--upload-megabytes", "1") as app:
        yield app


@pytest.fixture(scope="session")
def browser(chromium, app_folder):
    """Chromium, whose camera shows a recording."""
    camera = app_folder / "camera.mjpeg"
    _write_mjpeg(app_folder / "recordings" / "rec0.mp4", camera)
    switches = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with open_chromium(chromium, *switches, f"--use-file-for-fake-video-capture={camera}") as browser:
        yield browser


def _write_mjpeg(source, target):
    with av.open(str(source)) as recording, av.open(str(target), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
        for frame in recording.decode(video=0):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"))))
        container.mux(stream.encode())


@pytest.fixture
def visit(browser, app):
    """`visit(path)`: a page of the app, as a visitor of its own."""
    pages = []

    def open_path(path=""):
        pages.append(open_page(browser, f"{app.url}/{path}", viewport={"width": 1280, "height": 1400}))
        return pages[-1]

    yield open_path
    for page in pages:
        page.context.close()


def choose(page, name, option):
    """Choose from a list, which closes when the page runs again in the meantime."""
    from playwright.sync_api import TimeoutError as NotThereError

    def is_chosen():
        page.get_by_role("combobox", name=name).click()
        page.keyboard.type(option)  # a long list draws only what is in sight
        try:
            page.get_by_role("option", name=option, exact=True).click(timeout=3000)
        except NotThereError:
            page.keyboard.press("Escape")
            return False
        return True

    until(is_chosen)
