"""The web app as a person uses it: a server on a free port, and pages of Chromium in front of it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress

import pytest

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
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
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
def open_chromium(path, *switches):
    """Run Chromium; nothing that it is asked for leaves this machine."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", *switches],
        )
        try:
            yield browser
        finally:
            browser.close()


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
