"""`harkeras predict`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from harkeras.cli import options
from harkeras.cli.terminal import print_files, print_segments, print_text, quiet

Model = Annotated[
    Path | None,
    typer.Option(
        help="The folder of a run, a .keras file, or a published model such as i3d-kinetics400, which needs "
        "no training; the newest in saved_models if none."
    ),
]
Output = Annotated[Path | None, typer.Option(help="Write the video with its actions drawn, as .mp4.")]
StrideSeconds = Annotated[
    float | None,
    typer.Option(
        help="Time between two looks at the video; by default that between two frames of a look where "
        "frames are computed one by one, else half a look."
    ),
]
ClipSeconds = Annotated[
    float | None,
    typer.Option(help="Length of a look; by default that of the training clips, or 4 where nobody says."),
]

# What a recipe would say of a .keras file that was made elsewhere.
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


def predict(
    context: typer.Context,
    video: Annotated[str, typer.Argument(help="A video file, or the URL of a video.")],
    model: Model = None,
    output: Output = None,
    timeline: Annotated[Path | None, typer.Option(help="Write the timeline to a .csv or .json file.")] = None,
    single: Annotated[bool, typer.Option("--single", help="Name one action for the whole video.")] = False,
    stride_seconds: StrideSeconds = None,
    smoothing_seconds: Annotated[float, typer.Option(help="Average over this time; 0 for none.")] = 0.5,
    hysteresis: Annotated[float, typer.Option(help="Lead that a new label needs; 0 for none.")] = 0.1,
    min_seconds: Annotated[float, typer.Option(help="Time that a label must last; 0 for none.")] = 0.5,
    threshold: Annotated[float, typer.Option(help="Below this probability: unsure; 0 for never.")] = 0.5,
    clip_seconds: ClipSeconds = None,
    classes: Classes = None,
    normalize: Normalize = None,
    channel_order: ChannelOrder = None,
    streams: Streams = None,
    interpolation: Interpolation = None,
    input_shape: InputShape = None,
    download_dir: Annotated[Path, typer.Option(help="Folder for the video of a URL.")] = Path("data"),
) -> None:
    """Name the actions in a video.

    Prints a timeline, or one action for the whole video with --single.
    """
    with_timeline = {
        "output": output,
        "timeline": timeline,
        "stride_seconds": stride_seconds,
        "smoothing_seconds": smoothing_seconds,
        "hysteresis": hysteresis,
        "min_seconds": min_seconds,
        "threshold": threshold,
    }
    if single:
        _refuse_with_single(context, with_timeline)
    with quiet():
        from harkeras.inference.prediction import predict_on_video, predict_single_action
        from harkeras.inference.resolve import check_model_exists
    model = model or _newest_model()
    check_model_exists(model)
    path = _local_file(video, download_dir)
    recipe = {
        "clip_seconds": clip_seconds,
        "classes": options.read_names(classes),
        "normalize": normalize,
        "channel_order": channel_order,
        "streams": streams,
        "interpolation": interpolation,
        "input_shape": options.read_shape(input_shape),
    }
    if single:
        action = predict_single_action(path, model, **recipe)
        print_text(f"Action: {action.label}\nConfidence: {action.confidence:.2f}")
        return
    prediction = predict_on_video(path, model, **with_timeline, **recipe)
    print_segments(prediction.segments)
    print_files({name: path for name, path in (("video", output), ("timeline", timeline)) if path})


def _refuse_with_single(context: typer.Context, names: Iterable[str]) -> None:
    """Raise ValueError if an option was typed that would do nothing."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise ValueError(
                f"--{name.replace('_', '-')} has no meaning here: --single names one action: it writes "
                "neither --output nor --timeline, and decides nothing over time"
            )


def _newest_model() -> Path:
    from harkeras.models.saving import newest_model

    try:
        model = newest_model("saved_models")
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
