"""`harkeras serve`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from harkeras.cli.foreign import (
    ChannelOrder,
    Classes,
    ClipSeconds,
    InputShape,
    Interpolation,
    Normalize,
    Streams,
    read_foreign,
)
from harkeras.cli.prediction import Runtime
from harkeras.cli.terminal import print_text, quiet

ServedModel = Annotated[
    Path,
    typer.Argument(help="The folder of a run, a .keras or exported file, or a published model by its name."),
]
Host = Annotated[str, typer.Option(help="Where to listen; what is not 127.0.0.1 needs a token.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="HARKERAS_TOKEN",
        help="What 'Authorization: Bearer' must say; better in the variable, which no list of processes "
        "shows.",
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(help="Fetch videos from this HOST, or HOST:PORT; may be repeated. None by default."),
]
MaxMegabytes = Annotated[float, typer.Option(help="How large a video may be.")]
MaxSeconds = Annotated[float, typer.Option(help="How long a video may be.")]
MaxPixels = Annotated[int, typer.Option(help="Pixels of a frame; 4K by default.")]
UploadSeconds = Annotated[float, typer.Option(help="How long a video may take to come.")]
Workers = Annotated[
    int | None, typer.Option(help="Videos that are decoded at the same time; two per core by default.")
]
Queue = Annotated[int, typer.Option(help="How many more requests may send or wait.")]
PerClient = Annotated[
    int | None, typer.Option(help="How many of them may be of one address; all by default.")
]
MaxStreams = Annotated[int, typer.Option(help="How many cameras may be watched at the same time.")]


def serve(
    model: ServedModel,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Token = None,
    allow_host: AllowHost = None,
    max_megabytes: MaxMegabytes = 100,
    max_seconds: MaxSeconds = 600,
    max_pixels: MaxPixels = 3840 * 2160,
    upload_seconds: UploadSeconds = 60,
    workers: Workers = None,
    queue: Queue = 32,
    per_client: PerClient = None,
    max_streams: MaxStreams = 8,
    runtime: Runtime = None,
    clip_seconds: ClipSeconds = None,
    classes: Classes = None,
    normalize: Normalize = None,
    channel_order: ChannelOrder = None,
    streams: Streams = None,
    interpolation: Interpolation = None,
    input_shape: InputShape = None,
) -> None:
    """Serve a model over HTTP: videos and camera frames come in, the names of actions go out.

    POST /predict takes a video, /stream is a WebSocket of JPEG frames; /docs describes them. Ctrl-C and
    SIGTERM end it, when what is being computed is answered.
    """
    with quiet():
        from harkeras.deploy.serving.limits import ServiceLimits
        from harkeras.deploy.serving.running import check_open, run_service
        from harkeras.deploy.serving.service import create_service
    check_open(host, token)
    limits = ServiceLimits(
        megabytes=max_megabytes,
        seconds=max_seconds,
        pixels=max_pixels,
        upload_seconds=upload_seconds,
        workers=workers,
        queue=queue,
        per_client=per_client,
        streams=max_streams,
    )
    foreign = read_foreign(
        clip_seconds, classes, normalize, channel_order, streams, interpolation, input_shape
    )
    app = create_service(
        model, limits=limits, token=token, allow_hosts=allow_host or (), runtime=runtime, **foreign
    )
    # What is said of a video that somebody sends is of no use to who serves.
    warnings.simplefilter("ignore")
    run_service(
        app,
        host=host,
        port=port,
        token=token,
        limits=limits,
        on_ready=lambda address: print_text(f"ready at {address}, described at {address}/docs"),
    )
