"""`harkeras app`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

import harkeras

_MOST_MEGABYTES = 1000


def app(
    models: Annotated[
        Path, typer.Option(help="Folder of the models: those to choose from, and new ones.")
    ] = Path("saved_models"),
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the page; 8501, or the next one free.")
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    upload_megabytes: Annotated[
        int, typer.Option(min=1, help="How large a video that is uploaded may be.")
    ] = _MOST_MEGABYTES,
) -> None:
    """Open the web app: recognize, train and explore without code.

    The page is for this computer alone: it listens on 127.0.0.1. Ctrl-C ends it; a training that it has
    started goes on, and is found again.
    """
    if find_spec("streamlit") is None:
        raise ImportError('the web app needs Streamlit: pip install "harkeras[app]"')
    options = {
        "server.address": "127.0.0.1",
        "browser.serverAddress": "127.0.0.1",
        "server.headless": str(not browser).lower(),
        "server.showEmailPrompt": "false",
        "server.maxUploadSize": upload_megabytes,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",
        "runner.postScriptGC": "false",
    }
    if port is not None:
        options["server.port"] = port
    script = Path(harkeras.__file__).parent / "app" / "main.py"
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    command += [f"--{name}={value}" for name, value in options.items()]
    raise typer.Exit(_run([*command, "--", str(models)]))


def _run(command: list[str]) -> int:
    """Run the server until it ends; it ends with this process."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3")}
    server = subprocess.Popen(command, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    while True:
        try:
            return max(server.wait(), 0)
        except KeyboardInterrupt:  # the server has it too, and ends
            continue
