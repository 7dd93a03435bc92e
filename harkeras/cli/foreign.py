"""The options of a model that was made elsewhere: what a recipe would say of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from harkeras.cli.options import read_names, read_shape

ClipSeconds = Annotated[
    float | None,
    typer.Option(help="Length of a look; by default that of the training clips, or 4 where nobody says."),
]
Classes = Annotated[
    str | None, typer.Option(help="For a .keras file made elsewhere: its classes, separated by commas.")
]
Normalize = Annotated[
    bool | None, typer.Option(help="For a .keras file made elsewhere: whether it expects pixels in [0, 1].")
]
ChannelOrder = Annotated[
    Literal["rgb", "bgr"] | None, typer.Option(help="For a .keras file made elsewhere: its color order.")
]
Streams = Annotated[
    Literal["rgb", "gray", "flow", "rgb+flow"] | None,
    typer.Option(help="For a .keras file made elsewhere: what its frames hold, if not 1 or 3 channels."),
]
Interpolation = Annotated[
    Literal["area", "bilinear"] | None,
    typer.Option(
        help="For a .keras file made elsewhere: bilinear if its frames went through cv2.resize as it is."
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option(help="For a .keras file made elsewhere that leaves sizes open: 20,64,64,3, as trained."),
]


def read_foreign(
    clip_seconds: float | None,
    classes: str | None,
    normalize: bool | None,
    channel_order: str | None,
    streams: str | None,
    interpolation: str | None,
    input_shape: str | None,
) -> dict[str, Any]:
    """Return what was typed for a model that was made elsewhere, as `ForeignModel` has it."""
    return {
        "clip_seconds": clip_seconds,
        "classes": read_names(classes),
        "normalize": normalize,
        "channel_order": channel_order,
        "streams": streams,
        "interpolation": interpolation,
        "input_shape": read_shape(input_shape),
    }
