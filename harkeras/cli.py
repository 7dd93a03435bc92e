"""The command line: `harkeras demo | train | compare | evaluate | predict | download | cut | models`.

Commands parse, call the package and print. Heavy imports happen inside them, so that `--help` answers at
once.
"""

from __future__ import annotations

import ast
import csv
import logging
import os
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, TextIO

import typer

from harkeras.base.text import printable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# What `predict --single` has no use for, and why.
_SINGLE = (
    "--single names one action: it writes neither --output nor --timeline, and decides nothing over time"
)
_OF_TIMELINES = (
    "output",
    "timeline",
    "stride_seconds",
    "smoothing_seconds",
    "hysteresis",
    "min_seconds",
    "threshold",
)

Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
Split = Annotated[
    Literal["group", "random", "official"],
    typer.Option(
        help="How test clips are chosen: 'group' keeps the clips of one source video together; 'random' does "
        "not, and overstates the accuracy; 'official' reads the files in --split-dir."
    ),
]
SplitDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the split files of UCF101 or HMDB51, or of a train and a test list."),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        help="What names the source of a clip: a regular expression, searched in the path below the folder, "
        "or a level, 1 for the first folder inside the class folder. By default names such as _g03_ and "
        "folders are read."
    ),
]
TestSize = Annotated[float, typer.Option(help="Share of the clips to test on.")]
Classes = Annotated[
    str | None,
    typer.Option(help="Names of the classes, separated by commas; those with a comma in double quotes."),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="A .npy file to keep the frames in for the next time; for auto, a folder to keep features in."
    ),
]
Workers = Annotated[int | None, typer.Option(help="Threads that decode; one per core by default.")]
Streams = Annotated[
    Literal["rgb", "gray", "flow", "rgb+flow"],
    typer.Option(help="What the model sees: the frames, without their colors, their optical flow, or both."),
]
FlowFields = Annotated[
    int | None, typer.Option(help="Fields of flow per frame, where there is flow; 10. I3D takes 1.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        _print(f"harkeras {version('harkeras')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Human action recognition in video: from a folder of labelled clips to the named action."""


@app.command()
def demo(
    output_dir: Annotated[Path, typer.Option(help="Folder for all that is written.")] = Path("harkeras_demo"),
    seed: Seed = 27,
) -> None:
    """Run the whole job on rendered clips.

    Renders a small data set, trains, scores on people and places that training has not seen, and names the
    actions of a long video. It takes a few minutes.
    """
    with _quiet():
        from harkeras.data.samples import create_sample_dataset, create_sample_video
        from harkeras.inference.prediction import predict_on_video
        from harkeras.workflow import train_on_folder
    clips = create_sample_dataset(output_dir / "clips", seed=seed)
    trained = train_on_folder(
        clips, "lrcn", output_dir=output_dir / "model", batch_size=8, epochs=40, seed=seed
    )
    _print(f"\n{trained.evaluation}\n")
    video, annotated = output_dir / "long_video.mp4", output_dir / "long_video_actions.mp4"
    truth = create_sample_video(video, seed=seed)
    table = annotated.with_suffix(".csv")
    prediction = predict_on_video(video, trained.model, annotated, timeline=table)
    _print("\nThe long video, of a person and a place that training has not seen:")
    _print_segments(prediction.segments)
    _print("What really happens in it:")
    _print_segments(truth)
    _print_files(
        {
            "the clips": clips,
            "the model": trained.path,
            "its report": trained.report[0],
            "loss": trained.report[1],
            "accuracy": trained.report[2],
            "confusions": trained.report[3],
            "the long video": video,
            "with its actions": annotated,
            "as a table": table,
        }
    )
    _print("Next, with your own clips in FOLDER/<class>/<clip>.mp4:\n")
    _print("  harkeras train FOLDER")
    _print("  harkeras predict VIDEO --output actions.mp4")


@app.command()
def train(
    data_dir: Annotated[Path, typer.Argument(help="Folder with one folder of clips per class.")],
    model: Annotated[
        str,
        typer.Option(
            help="One of the names that 'harkeras models' lists, or 'auto': it finds what suits the clips, "
            "on top of a network trained on photographs."
        ),
    ] = "auto",
    output_dir: Annotated[Path, typer.Option(help="Folder for the model and its report.")] = Path(
        "saved_models"
    ),
    classes: Classes = None,
    frames: Annotated[
        int | None, typer.Option(help="Frames per clip, spread evenly over it; 20, or what auto finds best.")
    ] = None,
    height: Annotated[
        int | None, typer.Option(help="Height of a frame in pixels; 64, or what auto finds best.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Width of a frame in pixels; 64, or what auto finds best.")
    ] = None,
    streams: Streams = "rgb",
    flow_fields: FlowFields = None,
    flow_method: Annotated[
        Literal["dis", "farneback", "tvl1"], typer.Option(help="How to compute the flow.")
    ] = "dis",
    option: Annotated[
        list[str] | None,
        typer.Option(help="An argument of the model's builder, as NAME=VALUE; may be repeated."),
    ] = None,
    group_by: GroupBy = None,
    split: Split = "group",
    split_dir: SplitDir = None,
    test_size: TestSize = 0.25,
    epochs: Annotated[int | None, typer.Option(help="Passes over the clips, at most; 50.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Clips per step; 4.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better validation loss, then it stops; 10.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of Adam; 0.001.")] = None,
    augment: Annotated[
        bool, typer.Option("--augment/--no-augment", help="Change the clips a little, at random, each time.")
    ] = False,
    resume: Annotated[Path | None, typer.Option(help="File of the state; training goes on from it.")] = None,
    cache: Cache = None,
    workers: Workers = None,
    seed: Seed = 27,
) -> None:
    """Train a model on a folder of clips.

    The model is scored on clips of source videos that it was not trained on, and saved beside its report.
    Ctrl-C after the first epoch ends the training early; the best model so far is scored and saved. Epochs,
    batches, patience, learning rate, augmentation and resume are for models that are trained from end to end,
    not for auto.
    """
    with _quiet():
        from harkeras.data.augment import default_augmentation
        from harkeras.workflow import train_on_folder
    options = dict(map(_option, option or []))
    shape = _input_shape(model, (frames, height, width), streams, flow_fields, options)
    training = {"epochs": epochs, "batch_size": batch_size, "patience": patience, "resume": resume}
    training |= {
        "learning_rate": learning_rate,
        "augment": default_augmentation(streams) if augment else None,
    }
    trained = train_on_folder(
        data_dir,
        model,
        output_dir=output_dir,
        classes=_names(classes),
        input_shape=shape,
        flow_method=flow_method,
        model_options=options,
        group_by=group_by,
        split=split,
        split_dir=split_dir,
        test_size=test_size,
        cache=cache,
        workers=workers,
        seed=seed,
        **{name: value for name, value in training.items() if value is not None},
    )
    _print(f"\n{trained.evaluation}")
    names = ("report", "loss", "accuracy", "confusions") if trained.history else ("report", "confusions")
    _print_files({"the model": trained.path, **dict(zip(names, trained.report, strict=True))})
    _print(f"Next: harkeras predict VIDEO --model {trained.path} --output actions.mp4")


@app.command()
def compare(
    data_dir: Annotated[Path, typer.Argument(help="Folder with one folder of clips per class.")],
    models: Annotated[
        str,
        typer.Option(
            help="Names of models, separated by commas, options behind colons: c3d:width=0.25,lrcn,auto. "
            "Only auto finds frames, their size and how to train by itself."
        ),
    ] = "single_frame:width=0.25,late_fusion:width=0.25,lrcn",
    output_dir: Annotated[
        Path, typer.Option("--output", help="Folder for the tables, the page and finished rows.")
    ] = Path("comparison"),
    classes: Classes = None,
    frames: Annotated[int | None, typer.Option(help="Frames per clip, spread evenly over it; 20.")] = None,
    height: Annotated[int | None, typer.Option(help="Height of a frame in pixels; 64.")] = None,
    width: Annotated[int | None, typer.Option(help="Width of a frame in pixels; 64.")] = None,
    streams: Streams = "rgb",
    flow_fields: FlowFields = None,
    group_by: GroupBy = None,
    split: Annotated[str, typer.Option(help="group, random or official; several with commas.")] = "group",
    split_dir: SplitDir = None,
    folds: Annotated[
        str, typer.Option(help="Number of folds; 'groups' leaves one source out each time.")
    ] = "5",
    epochs: Annotated[int | None, typer.Option(help="Passes over the clips, at most; 30.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Clips per step; 8.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better validation loss, then it stops; 10.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of Adam; 0.001.")] = None,
    workers: Workers = None,
    seed: Seed = 27,
) -> None:
    """Cross-validate several models on the same folds, and write one table.

    A row that is finished is not run again, so the command may be interrupted and repeated.
    """
    with _quiet():
        from harkeras.evaluation.comparison import Contestant, markdown_table
        from harkeras.evaluation.comparison import compare as compare_models
    contestants = []
    for each in re.split(r",(?![^()]*\))", models):  # commas, but for those of a tuple
        name, *options = each.strip().split(":")
        contestants.append(Contestant(name, dict(map(_option, options))))
    training = {"epochs": epochs, "batch_size": batch_size, "patience": patience}
    training |= {"learning_rate": learning_rate}
    training = {name: value for name, value in training.items() if value is not None}
    shape = None
    if any(each.model != "auto" for each in contestants):
        training = {"epochs": 30, "batch_size": 8} | training
        shape = _clip_shape((frames, height, width), streams, flow_fields)
    elif (frames, height, width, flow_fields, streams) != (None, None, None, None, "rgb"):
        raise ValueError("frames, height, width, streams and flow_fields mean nothing to auto alone")
    rows = compare_models(
        data_dir,
        contestants,
        output_dir=output_dir,
        classes=_names(classes),
        input_shape=shape,
        group_by=group_by,
        splits=_names(split),
        folds=_folds(folds),
        split_dir=split_dir,
        workers=workers,
        seed=seed,
        **training,
    )
    _print(f"\n{markdown_table(rows)}")
    files = {name: output_dir / f"comparison.{name}" for name in ("html", "csv", "md")}
    _print_files(files)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .keras file.")],
    data_dir: Annotated[Path, typer.Argument(help="Folder with one folder of clips per class.")],
    clips: Annotated[
        Literal["held-out", "all"],
        typer.Option(
            help="'held-out': those that the model was not trained on, nor their sources, as its file says; "
            "'all': every clip of a folder that is new to it."
        ),
    ] = "held-out",
    classes: Classes = None,
    cache: Cache = None,
    workers: Workers = None,
) -> None:
    """Score a saved model on clips it has not seen."""
    with _quiet():
        from harkeras.evaluation.held_out import evaluate_on_folder
    evaluation = evaluate_on_folder(
        model,
        data_dir,
        clips=clips,
        classes=_names(classes),
        cache=cache,
        workers=workers,
    )
    _print(f"\n{evaluation}")


@app.command()
def predict(
    context: typer.Context,
    video: Annotated[str, typer.Argument(help="A video file, or the URL of a video.")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="A .keras file, or a published model such as i3d-kinetics400, which needs no training; the "
            "newest in saved_models if none."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the video with its actions drawn, as .mp4.")
    ] = None,
    timeline: Annotated[Path | None, typer.Option(help="Write the timeline to a .csv or .json file.")] = None,
    single: Annotated[bool, typer.Option("--single", help="Name one action for the whole video.")] = False,
    stride_seconds: Annotated[
        float | None,
        typer.Option(
            help="Time between two looks at the video; by default that between two frames of a look where "
            "frames are computed one by one, else half a look."
        ),
    ] = None,
    smoothing_seconds: Annotated[float, typer.Option(help="Average over this time; 0 for none.")] = 0.5,
    hysteresis: Annotated[float, typer.Option(help="Lead that a new label needs; 0 for none.")] = 0.1,
    min_seconds: Annotated[float, typer.Option(help="Time that a label must last; 0 for none.")] = 0.5,
    threshold: Annotated[float, typer.Option(help="Below this probability: unsure; 0 for never.")] = 0.5,
    clip_seconds: Annotated[
        float | None,
        typer.Option(help="Length of a look; by default that of the training clips, or 4 where nobody says."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="For a .keras file made elsewhere: its classes, separated by commas.")
    ] = None,
    normalize: Annotated[
        bool | None,
        typer.Option(help="For a .keras file made elsewhere: whether it expects pixels in [0, 1]."),
    ] = None,
    channel_order: Annotated[
        Literal["rgb", "bgr"] | None, typer.Option(help="For a .keras file made elsewhere: its color order.")
    ] = None,
    streams: Annotated[
        Literal["rgb", "gray", "flow", "rgb+flow"] | None,
        typer.Option(help="For a .keras file made elsewhere: what its frames hold, if not 1 or 3 channels."),
    ] = None,
    interpolation: Annotated[
        Literal["area", "bilinear"] | None,
        typer.Option(
            help="For a .keras file made elsewhere: bilinear if its frames went through cv2.resize as it is."
        ),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(help="For a .keras file made elsewhere that leaves sizes open: 20,64,64,3, as trained."),
    ] = None,
    download_dir: Annotated[Path, typer.Option(help="Folder for the video of a URL.")] = Path("data"),
) -> None:
    """Name the actions in a video.

    Prints a timeline, or one action for the whole video with --single.
    """
    from harkeras.video.addresses import is_playlist
    from harkeras.video.youtube import download_youtube_videos, is_url

    if single:
        _refuse_options(context, _OF_TIMELINES, _SINGLE)
    with _quiet():
        from harkeras.inference.prediction import predict_on_video, predict_single_action
        from harkeras.inference.resolve import check_model_exists
    model = model or _newest_model()
    check_model_exists(model)
    path = video
    if is_url(video) and not is_playlist(video):
        path = download_youtube_videos(video, download_dir).path
    recipe = {
        "clip_seconds": clip_seconds,
        "classes": _names(classes),
        "normalize": normalize,
        "channel_order": channel_order,
        "streams": streams,
        "interpolation": interpolation,
        "input_shape": _shape(input_shape),
    }
    if single:
        action = predict_single_action(path, model, **recipe)
        _print(f"Action: {action.label}\nConfidence: {action.confidence:.2f}")
        return
    prediction = predict_on_video(
        path,
        model,
        output,
        timeline=timeline,
        stride_seconds=stride_seconds,
        smoothing_seconds=smoothing_seconds,
        hysteresis=hysteresis,
        min_seconds=min_seconds,
        threshold=threshold,
        **recipe,
    )
    _print_segments(prediction.segments)
    _print_files({name: path for name, path in (("video", output), ("timeline", timeline)) if path})


@app.command()
def download(
    url: Annotated[str, typer.Argument(help="URL of a video on YouTube, or wherever yt-dlp finds one.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for the video.")] = Path("data"),
    max_height: Annotated[int, typer.Option(help="At most this many lines.")] = 480,
    start_seconds: Annotated[float | None, typer.Option(help="Keep only what comes from here on.")] = None,
    end_seconds: Annotated[float | None, typer.Option(help="Keep only what comes before.")] = None,
    cookies: Annotated[Path | None, typer.Option(help="cookies.txt of a browser that is signed in.")] = None,
    cookies_from_browser: Annotated[
        str | None, typer.Option(help="Browser that is signed in: firefox, chrome, ...")
    ] = None,
) -> None:
    """Download a video, or a part of it."""
    from harkeras.video.youtube import download_youtube_videos

    video = download_youtube_videos(
        url,
        output_dir,
        max_height=max_height,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        cookies=cookies,
        cookies_from_browser=cookies_from_browser,
    )
    _print(f"{video.title}\n{video.path}")


@app.command()
def cut(
    annotations: Annotated[Path, typer.Argument(help="Time ranges: CSV, or what a labeling tool exported.")],
    output_dir: Annotated[Path, typer.Argument(help="Folder for the clips, one folder per class.")],
    videos: Annotated[
        Path | None, typer.Option(help="Folder with the videos; the one of the annotations by default.")
    ] = None,
    file_format: Annotated[
        Literal["auto", "csv", "kinetics", "gmdcsa", "vott", "activitynet", "label_studio", "cvat"],
        typer.Option("--format", help="What the annotations are; 'auto' looks at their content."),
    ] = "auto",
    end_tag: Annotated[str, typer.Option(help="For VoTT: the tag that closes a range.")] = "dummy",
    fps: Annotated[
        float | None,
        typer.Option(help="For Label Studio and CVAT: the rate that their frame numbers count at."),
    ] = None,
    group_by: Annotated[
        Literal["video", "person"], typer.Option(help="What the clips of one group share.")
    ] = "video",
    tolerance_seconds: Annotated[
        float, typer.Option(help="A range may end this much behind its video; it is then cut short.")
    ] = 1.0,
    download_dir: Annotated[Path, typer.Option(help="Folder for videos from the internet.")] = Path("data"),
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row.")] = False,
) -> None:
    """Cut clips out of long videos with time ranges, exactly to the frame.

    Bad rows are listed at the end; the others are cut. A second run cuts only what is missing.
    """
    from harkeras.data.annotations import cut_clips, read_annotations

    ranges = read_annotations(
        annotations, videos, format=file_format, end_tag=end_tag, fps=fps, strict=strict
    )
    clips = cut_clips(
        ranges,
        output_dir,
        group_by=group_by,
        tolerance_seconds=tolerance_seconds,
        download_dir=download_dir,
        strict=strict,
    )
    if not clips:
        raise ValueError(f"no clip could be cut with {annotations}")
    classes = Counter(clip.parent.name for clip in clips)
    _print("\n".join(f"{count:6d} {name}" for name, count in sorted(classes.items())))
    _print(f"{len(clips)} clips in {output_dir}. Next: harkeras train {output_dir}")


@app.command()
def models() -> None:
    """List the models, as they are built by default for 4 classes; those of still images come last.

    Multiply-adds are those of one clip or image; many papers call them FLOPs. Builds every model to measure
    it, which takes some seconds.
    """
    with _quiet():
        from harkeras.models import model_table
    line = "{:<17} {:<14} {:>11} {:>13}  {:<32} {}"
    _print(line.format("name", "clip", "parameters", "multiply-adds", "paper", "file in models/"))
    for row in model_table():
        shape = "x".join(map(str, row.input_shape))
        unit, letter = (1e9, "G") if row.multiply_adds >= 1e9 else (1e6, "M")
        amount = f"{row.multiply_adds / unit:,.1f} {letter}"
        _print(line.format(row.name, shape, f"{row.parameters:,}", amount, row.paper, Path(row.file).name))


def main() -> None:
    """Run the command line: errors that a user can mend become one line and exit status 2."""
    warnings.showwarning = lambda message, *_args, **_kwargs: _print(f"warning: {message}", file=sys.stderr)
    logger = logging.getLogger("harkeras")
    logger.handlers, logger.level = [logging.StreamHandler()], logging.INFO
    try:
        app(prog_name="harkeras")
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C, in silence
            _print("interrupted", file=sys.stderr)
        raise
    except (ValueError, OSError, RuntimeError, MemoryError, ImportError) as error:
        _print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _print(text: object = "", file: TextIO | None = None) -> None:
    """Print text whose names come from files that others made: they steer no terminal."""
    print("\n".join(map(printable, str(text).split("\n"))), file=file)


def _names(text: str | None) -> list[str] | None:
    """Split a list at commas, but for those inside double quotes."""
    if text is None:
        return None
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


def _shape(text: str | None) -> tuple[int, ...] | None:
    """Read sizes separated by commas."""
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ValueError(f"input_shape must be sizes separated by commas, such as 20,64,64,3, got {text!r}")
    return tuple(map(int, parts))


def _refuse_options(context: typer.Context, names: Sequence[str], reason: str) -> None:
    """Raise ValueError if an option that would do nothing was typed."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise ValueError(f"--{name.replace('_', '-')} has no meaning here: {reason}")


def _option(text: str) -> tuple[str, object]:
    """Read NAME=VALUE; a value that is no Python literal is text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"option must be NAME=VALUE, got {text!r}")
    with suppress(ValueError, SyntaxError):
        return name, ast.literal_eval(value)
    return name, value


def _folds(text: str) -> int | str:
    if text != "groups" and not text.isdecimal():
        raise ValueError(f"folds must be a number or 'groups', got {text!r}")
    return text if text == "groups" else int(text)


def _clip_shape(
    size: tuple, streams: str, flow_fields: int | None, defaults: tuple[int, int, int] = (20, 64, 64)
) -> tuple[int, int, int, int]:
    """Return frames, height, width and channels."""
    from harkeras.recipe import count_channels

    if flow_fields is not None and "flow" not in streams:
        raise ValueError(f"flow_fields is for streams with optical flow, got {flow_fields} for {streams!r}")
    size = (default if value is None else value for value, default in zip(size, defaults, strict=True))
    return (*size, count_channels(streams, 10 if flow_fields is None else flow_fields))


def _input_shape(
    model: str, size: tuple, streams: str, flow_fields: int | None, options: dict
) -> tuple | None:
    """Return the shape of a clip; None where auto is to choose, with flow as its option."""
    if model != "auto":
        return _clip_shape(size, streams, flow_fields)
    if streams not in ("rgb", "rgb+flow") or flow_fields not in (None, 1):
        raise ValueError(
            f"streams must be 'rgb', or 'rgb+flow' with 1 field, for auto, got {streams!r} and {flow_fields}"
        )
    if size != (None, None, None):
        return _clip_shape(size, streams, 1 if streams == "rgb+flow" else None, (16, 224, 224))
    if streams == "rgb+flow":
        options["flow"] = True
    return None


def _newest_model() -> Path:
    found = sorted(Path("saved_models").glob("*.keras"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError("no model in saved_models: train one with 'harkeras train', or pass --model")
    _print(f"model: {found[-1]}")
    return found[-1]


def _print_segments(segments) -> None:
    for start, end, label, *confidence in segments:
        _print(
            f"  {start:7.2f} s  to {end:7.2f} s  {label}" + "".join(f"  {value:.0%}" for value in confidence)
        )


def _print_files(files: dict[str, Path]) -> None:
    width = max(map(len, files), default=0)
    _print("\n".join(["", *(f"{name:>{width}}: {path}" for name, path in files.items()), ""]))


@contextmanager
def _quiet():
    """Hold back what TensorFlow's C++ code writes while it is loaded; show it if loading fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(saved, said.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
