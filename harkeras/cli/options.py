"""The options that several commands share, and how the text of an option is read."""

from __future__ import annotations

import ast
import csv
import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

DataDir = Annotated[Path, typer.Argument(help="Folder with one folder of clips per class.")]
Classes = Annotated[
    str | None,
    typer.Option(help="Names of the classes, separated by commas; those with a comma in double quotes."),
]
Frames = Annotated[
    int | None,
    typer.Option(
        help="Frames per clip, spread evenly over it; 20, what auto finds best, or what a published network "
        "was trained on."
    ),
]
Height = Annotated[int | None, typer.Option(help="Height of a frame in pixels; 64, or as for the frames.")]
Width = Annotated[int | None, typer.Option(help="Width of a frame in pixels; 64, or as for the frames.")]
Streams = Annotated[
    Literal["rgb", "gray", "flow", "rgb+flow", "pose"],
    typer.Option(
        help="What the model sees: the frames, without their colors, their optical flow, or both; or 'pose', "
        "the joints of the person in them, for pose_lstm."
    ),
]
FlowFields = Annotated[
    int | None, typer.Option(help="Fields of flow per frame, where there is flow; 10. I3D takes 1.")
]
FormatName = Literal[
    "auto", "csv", "kinetics", "gmdcsa", "vott", "activitynet", "label_studio", "cvat", "boris", "elan"
]
LabelFormat = Annotated[
    FormatName,
    typer.Option("--format", help="What the annotations are; 'auto' looks at their content."),
]
EndTag = Annotated[str, typer.Option(help="For VoTT: the tag that closes a range.")]
LabelFps = Annotated[
    float | None, typer.Option(help="For Label Studio and CVAT: the rate that their frame numbers count at.")
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        help="What names the source of a clip: a regular expression, searched in the path below the folder, "
        "or a level, 1 for the first folder inside the class folder. By default names such as _g03_ and "
        "folders are read."
    ),
]
SplitDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the split files of UCF101 or HMDB51, or of a train and a test list."),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the clips, at most; 50, in a comparison 30.")]
BatchSize = Annotated[int | None, typer.Option(help="Clips per step; 4, in a comparison 8.")]
Patience = Annotated[
    int | None, typer.Option(help="Epochs without a better validation loss, then it stops; 10.")
]
LearningRate = Annotated[float | None, typer.Option(help="Learning rate of Adam; 0.001.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="A .npy file to keep the frames in for the next time; for auto, a folder to keep features in."
    ),
]
Workers = Annotated[int | None, typer.Option(help="Threads that decode; one per core by default.")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]


def read_names(text: str | None) -> list[str] | None:
    """Split a list at commas, but for those inside double quotes."""
    if text is None:
        return None
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


def read_shape(text: str | None) -> tuple[int, ...] | None:
    """Read sizes separated by commas."""
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ValueError(f"input_shape must be sizes separated by commas, such as 20,64,64,3, got {text!r}")
    return tuple(map(int, parts))


def read_folds(text: str) -> int | Literal["groups"]:
    """Read a number of folds, or 'groups'."""
    if text == "groups":
        return "groups"
    if not text.isdecimal():
        raise ValueError(f"folds must be a number or 'groups', got {text!r}")
    return int(text)


def read_model_options(texts: Iterable[str], **others: Any) -> dict[str, Any]:
    """Read arguments of a builder, each NAME=VALUE; a value that is no Python literal is text.

    Options with a name of their own on the command line are added where they were typed.
    """
    options = {name: value for name, value in others.items() if value is not None}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"option must be NAME=VALUE, got {text!r}")
        options[name] = value
        with suppress(ValueError, SyntaxError):
            options[name] = ast.literal_eval(value)
    return options


def training_settings(learning_rate: float | None, **settings: Any) -> dict[str, Any]:
    """Return the options that were typed as arguments of a training."""
    if learning_rate is not None:
        import keras

        if not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate must be a finite number above 0, got {learning_rate}")
        settings["optimizer"] = keras.optimizers.Adam(learning_rate)
    return {name: value for name, value in settings.items() if value is not None}
