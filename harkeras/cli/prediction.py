"""`harkeras predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from harkeras.cli.terminal import print_files, print_segments, print_text, quiet

if TYPE_CHECKING:
    from harkeras.inference.video_results import VideoResult

Model = Annotated[
    Path | None,
    typer.Option(
        help="The folder of a run, a .keras file, or a published model such as i3d-kinetics400, which needs "
        "no training; the newest in saved_models if none."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(help="Write the video with its actions drawn, as .mp4; of several videos, a folder."),
]
Timeline = Annotated[
    Path | None,
    typer.Option(help="Write the timeline to a .csv or .json file; of several videos, a folder."),
]
StrideSeconds = Annotated[
    float | None,
    typer.Option(
        help="Time between two looks at the video; by default that between two frames of a look where "
        "frames are computed one by one, else half a look."
    ),
]
Causal = Annotated[
    bool,
    typer.Option(
        "--causal", help="Decide as a live stream does, without knowing what comes later in the file."
    ),
]
SmoothingSeconds = Annotated[
    float | None,
    typer.Option(help="Average over this time; 0 for none. By default over a look, with --causal over 0.5."),
]
Hysteresis = Annotated[float, typer.Option(help="Lead that a change of the label needs; 0 for none.")]
MinSeconds = Annotated[float, typer.Option(help="Time that a label must last; 0 for none.")]
Threshold = Annotated[float, typer.Option(help="Below this probability: unsure; 0 for never.")]
PerPerson = Annotated[
    bool, typer.Option("--per-person", help="Name the actions of each person in the video.")
]
Single = Annotated[bool, typer.Option("--single", help="Name one action for the whole video.")]

Runtime = Annotated[
    Literal["keras", "onnx", "litert"] | None,
    typer.Option(help="Engine that computes the model; one that was exported has its own."),
]
Table = Annotated[Path | None, typer.Option(help="Write a row for each video to a .csv file.")]
Top = Annotated[int, typer.Option(help="List so many of the most probable classes with each action.", min=0)]
Caption = Annotated[
    Literal["top-left", "top-right", "bottom-left", "bottom-right", "none"],
    typer.Option(help="Where the label stands in the picture, out of the way of a camera's clock."),
]


def predict(
    context: typer.Context,
    videos: Annotated[
        list[str],
        typer.Argument(help="Video files, folders of them, patterns in quotes, or URLs.", metavar="VIDEO..."),
    ],
    model: Model = None,
    output: Output = None,
    timeline: Timeline = None,
    table: Table = None,
    top: Top = 0,
    per_person: PerPerson = False,
    single: Single = False,
    caption: Caption = "top-left",
    causal: Causal = False,
    stride_seconds: StrideSeconds = None,
    smoothing_seconds: SmoothingSeconds = None,
    hysteresis: Hysteresis = 0.1,
    min_seconds: MinSeconds = 0.5,
    threshold: Threshold = 0.5,
    clip_seconds: ClipSeconds = None,
    classes: Classes = None,
    normalize: Normalize = None,
    channel_order: ChannelOrder = None,
    streams: Streams = None,
    interpolation: Interpolation = None,
    input_shape: InputShape = None,
    runtime: Runtime = None,
    download_dir: Annotated[Path, typer.Option(help="Folder for the video of a URL.")] = Path("data"),
) -> None:
    """Name the actions in a video, or in each of several.

    Prints a timeline, or one action for the whole video with --single. Of several videos, or of a folder, it
    prints a table at the end, with the action that holds longest; a video that cannot be read gets a row that
    says why, and the exit status is then 1.
    """
    over_time = {
        "causal": causal,
        "stride_seconds": stride_seconds,
        "smoothing_seconds": smoothing_seconds,
        "hysteresis": hysteresis,
        "min_seconds": min_seconds,
        "threshold": threshold,
    }
    _check_typed(context, single, per_person, output, over_time)
    model = find_model(model)
    if not (single or per_person) and _looks_at_people(model):
        per_person = True
        _check_typed(context, single, per_person, output, over_time)
    settings = read_foreign(
        clip_seconds, classes, normalize, channel_order, streams, interpolation, input_shape
    )
    settings |= {"runtime": runtime} | ({} if single else over_time)
    settings |= {} if single or per_person else {"caption": caption}
    targets = (model, output, timeline, table)
    if _are_several(videos):
        kind = {"single": single, "per_person": per_person}
        return _predict_several(videos, *targets, top=top, download_dir=download_dir, **kind, **settings)
    video = _local_file(videos[0], download_dir)
    if per_person:
        return _predict_people(video, *targets, top=top, **settings)
    _predict_one(video, *targets, top=top, single=single, **settings)


def find_model(model: Path | None) -> Path:
    """Return the model that was asked for, or the newest, and raise FileNotFoundError if there is none."""
    with quiet():
        from harkeras.inference.resolve import check_model_exists
    model = model or newest_model()
    check_model_exists(model)
    return model


def _are_several(videos: list[str]) -> bool:
    from harkeras.video.listing import is_several

    return len(videos) > 1 or is_several(videos[0])


def _predict_one(
    video: str | Path,
    model: Path,
    output: Path | None,
    timeline: Path | None,
    table: Path | None,
    *,
    top: int,
    single: bool,
    **settings: Any,
) -> None:
    """Print the actions of one video; what cannot be read or written raises an error."""
    from harkeras.inference.prediction import predict_on_video, predict_single_action
    from harkeras.inference.video_results import ResultTable, VideoResult
    from harkeras.video.reading import VideoInfo

    inputs = [video, model, output, timeline]
    rows = None if table is None else ResultTable(table, top, per_person=False, inputs=inputs)
    if single:
        prediction = predict_single_action(video, model, **settings)
        print_text(f"Action: {prediction.label}\nConfidence: {prediction.confidence:.2f}")
    else:
        prediction = predict_on_video(video, model, output, timeline=timeline, top=top, **settings)
    result = VideoResult(str(video), VideoInfo.read(video).duration_seconds, prediction, output, timeline)
    if single and top:
        print_text(f"Most probable: {_list(result.most_probable(top))}")
    if not single:
        for segment in prediction.segments:
            print_segments([segment])
            if top:
                print_text(f"{'':27}{_list(prediction.most_probable(top, segment))}")
    if rows is not None:
        rows.add(result)
    _print_written({"video": output, "timeline": timeline, "table": table})


def _looks_at_people(model: Path) -> bool:
    from harkeras.inference.resolve import find_recipe

    if not Path(model).exists():  # a published model
        return False
    recipe = find_recipe(model)
    return recipe is not None and recipe.subject == "person"


def _predict_people(
    video: str | Path,
    model: Path,
    output: Path | None,
    timeline: Path | None,
    table: Path | None,
    *,
    top: int,
    **settings: Any,
) -> None:
    """Print the actions of each person of a video."""
    from harkeras.inference.people_prediction import predict_people
    from harkeras.inference.video_results import ResultTable, VideoResult
    from harkeras.video.reading import VideoInfo

    inputs = [video, model, output, timeline]
    rows = None if table is None else ResultTable(table, top, per_person=True, inputs=inputs)
    people = predict_people(video, model, output, timeline=timeline, top=top, **settings)
    if not people:
        print_text("nobody was found")
    for person in people:
        print_text(f"person {person.number}")
        for segment in person.prediction.segments:
            print_segments([segment])
            if top:
                print_text(f"{'':27}{_list(person.prediction.most_probable(top, segment))}")
    if rows is not None:
        seconds = VideoInfo.read(video).duration_seconds
        rows.add(VideoResult(str(video), seconds, None, output, timeline, people=people))
    _print_written({"video": output, "timeline": timeline, "table": table})


def _predict_several(
    videos: list[str],
    model: Path,
    output: Path | None,
    timeline: Path | None,
    table: Path | None,
    *,
    top: int,
    per_person: bool,
    **settings: Any,
) -> None:
    """Print a table of what there is, also after Ctrl-C; end with status 1 if a video failed."""
    from harkeras.inference.many_videos import predict_on_videos

    results = predict_on_videos(
        videos,
        model,
        video_dir=output,
        timeline_dir=timeline,
        table=table,
        top=top,
        per_person=per_person,
        **settings,
    )
    rows, count, errors = [], 0, 0
    try:
        for result in results:
            rows += _rows(result, top, per_person)
            errors += bool(result.error)
            count += 1
    finally:
        if rows:
            _print_table(rows, top, per_person)
            _print_written({"videos": output, "timelines": timeline, "table": table})
    if errors:
        print_text(f"{errors} of {count} videos could not be read or written", file=sys.stderr)
        raise typer.Exit(1)


def _rows(result: VideoResult, top: int, per_person: bool) -> list[tuple[str, ...]]:
    """Return the cells that are printed of a video, or of each person in it; those of an error are two."""
    if not per_person:
        return [(result.video, *_cells(result, top))]
    if not result.people:
        return [(result.video, *(_cells(result, top) if result.error else ("nobody was found",)))]
    people = result.of_each_person().items()
    return [(result.video, str(number), *_cells(each, top)) for number, each in people]


def _cells(result: VideoResult, top: int) -> tuple[str, ...]:
    if result.action is None:
        return (f"error: {result.error}",)
    label, held_seconds, confidence = result.action
    cells = (f"{result.seconds:.2f} s", label, f"{held_seconds:.2f} s", f"{confidence:.0%}")
    return (*cells, _list(result.most_probable(top))) if top else cells


def _print_table(rows: list[tuple[str, ...]], top: int, per_person: bool) -> None:
    header = ("video", *["person"] * per_person, "length", "action", "it holds", "confidence")
    rows = [(*header, "most probable") if top else header, *rows]
    widths = [max(len(row[column]) for row in rows if len(row) > 2) for column in range(len(rows[0]))]
    widths[0] = max(len(row[0]) for row in rows)
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        print_text("  ".join(cells).rstrip())


def _print_written(files: dict[str, Path | None]) -> None:
    if written := {name: path for name, path in files.items() if path is not None}:
        print_files(written)


def _list(classes: list[tuple[str, float]]) -> str:
    return ", ".join(f"{label} {share:.0%}" for label, share in classes)


def _check_typed(
    context: typer.Context, single: bool, per_person: bool, output: Path | None, over_time: Iterable[str]
) -> None:
    """Raise ValueError if an option was typed that would do nothing."""
    without_meaning = {} if output else {"caption": "it is for the video that --output writes"}
    if single:
        reason = "--single names one action: it writes neither --output nor --timeline, and decides nothing"
        names = ("output", "timeline", "caption", *over_time)
        without_meaning = dict.fromkeys(names, f"{reason} over time")
    if per_person:
        reason = "each person has a label of their own, which stands beside them"
        without_meaning = dict.fromkeys(("caption", "single", "streams"), reason)
    for name, reason in without_meaning.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise ValueError(f"--{name.replace('_', '-')} has no meaning here: {reason}")


def newest_model() -> Path:
    """Return the newest run in saved_models, and say which it is."""
    from harkeras.base import model_files

    try:
        model = model_files.newest_model("saved_models")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}: train one with 'harkeras train', or pass --model") from None
    print_text(f"model: {model}")
    return model


def _local_file(video: str, download_dir: Path) -> str | Path:
    """Download the video of a URL; what is no file is told by who reads it."""
    from harkeras.video.addresses import is_playlist
    from harkeras.video.youtube import download_youtube_videos, is_url

    if is_url(video) and not is_playlist(video):
        return download_youtube_videos(video, download_dir).path
    return video
