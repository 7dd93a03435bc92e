"""`harkeras export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harkeras.cli.terminal import print_text, quiet


def export(
    model: Annotated[
        Path, typer.Argument(help="The folder of a run, a .keras file, or a published model by its name.")
    ],
    output: Annotated[
        Path,
        typer.Argument(
            help="File to write, .onnx or .tflite; a folder for --split, a SavedModel and a page."
        ),
    ],
    file_format: Annotated[
        Literal["onnx", "litert", "saved_model", "web"] | None,
        typer.Option(
            "--format",
            help="What to write; by default what the suffix says. web: a page for a camera.",
        ),
    ] = None,
    precision: Annotated[
        Literal["float32", "float16", "int8"], typer.Option(help="Of a LiteRT file's weights.")
    ] = "float32",
    split: Annotated[
        bool, typer.Option("--split", help="Two files: one for single frames, one for their features.")
    ] = False,
    clips: Annotated[
        Path | None,
        typer.Option(help="Clips to compare on, and to measure int8's ranges with; else a rendered video."),
    ] = None,
) -> None:
    """Write a model for phones, browsers and servers, and compare it with Keras on the same clips."""
    with quiet():
        from harkeras.deploy.export import export_model
    print_text(export_model(model, output, format=file_format, precision=precision, split=split, clips=clips))
