"""`harkeras bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harkeras.cli.prediction import Runtime
from harkeras.cli.terminal import print_text, quiet


def bench(
    model: Annotated[
        Path, typer.Argument(help="The folder of a run, a .keras file, or a published model by its name.")
    ],
    source: Annotated[
        str | None,
        typer.Argument(
            help="Number of a camera, the address of a stream (rtsp://, http://), or a file; by default a "
            "video that is rendered for it."
        ),
    ] = None,
    per_person: Annotated[
        bool,
        typer.Option(
            "--per-person", help="Follow each person, and measure what one, two and four of them cost."
        ),
    ] = False,
    seconds: Annotated[float, typer.Option(help="How much of the source is used, at most.")] = 20.0,
    stride_seconds: Annotated[
        float | None, typer.Option(help="Time between two looks at the video, as for predict.")
    ] = None,
    target_fps: Annotated[float, typer.Option(help="Frames per second that are wanted.")] = 30.0,
    runtime: Runtime = None,
) -> None:
    """Measure how many frames per second a model follows, where the time goes, and what would save some."""
    with quiet():
        from harkeras.evaluation.real_time import bench_model
    print_text(
        bench_model(
            model,
            source,
            seconds=seconds,
            stride_seconds=stride_seconds,
            per_person=per_person,
            target_fps=target_fps,
            runtime=runtime,
        )
    )
