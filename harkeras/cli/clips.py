"""`harkeras download`, `cut` and `convert-labels`: where clips and the ranges they are cut by come from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from harkeras.cli.options import EndTag, LabelFormat, LabelFps
from harkeras.cli.terminal import print_text


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
    print_text(f"{video.title}\n{video.path}")


def cut(
    annotations: Annotated[Path, typer.Argument(help="Time ranges: CSV, or what a labeling tool exported.")],
    output_dir: Annotated[Path, typer.Argument(help="Folder for the clips, one folder per class.")],
    videos: Annotated[
        Path | None, typer.Option(help="Folder with the videos; the one of the annotations by default.")
    ] = None,
    file_format: LabelFormat = "auto",
    end_tag: EndTag = "dummy",
    fps: LabelFps = None,
    group_by: Annotated[
        Literal["video", "person"], typer.Option(help="What the clips of one group share.")
    ] = "video",
    tolerance_seconds: Annotated[
        float, typer.Option(help="A range may end this much behind its video; it is then cut short.")
    ] = 1.0,
    rest: Annotated[
        str | None,
        typer.Option(
            help="Name of a class, such as Nothing, for clips of the time that nobody labeled: what it looks "
            "like when nothing happens."
        ),
    ] = None,
    rest_seconds: Annotated[
        float | None, typer.Option(help="Length of these clips; the median of the others by default.")
    ] = None,
    rest_margin_seconds: Annotated[
        float, typer.Option(help="What these clips leave out beside each labeled range.")
    ] = 0.5,
    download_dir: Annotated[Path, typer.Option(help="Folder for videos from the internet.")] = Path("data"),
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row.")] = False,
) -> None:
    """Cut clips out of long videos with time ranges, exactly to the frame.

    Bad rows are listed at the end; the others are cut. A second run cuts only what is missing.
    """
    from harkeras.data.annotations import read_annotations
    from harkeras.data.cutting import cut_clips

    ranges = read_annotations(
        annotations, videos, format=file_format, end_tag=end_tag, fps=fps, strict=strict
    )
    clips = cut_clips(
        ranges,
        output_dir,
        group_by=group_by,
        tolerance_seconds=tolerance_seconds,
        rest=rest,
        rest_seconds=rest_seconds,
        rest_margin_seconds=rest_margin_seconds,
        download_dir=download_dir,
        strict=strict,
    )
    if not clips:
        raise ValueError(f"no clip could be cut with {annotations}")
    classes = Counter(clip.parent.name for clip in clips)
    print_text("\n".join(f"{count:6d} {name}" for name, count in sorted(classes.items())))
    print_text(f"{len(clips)} clips in {output_dir}. Next: harkeras train {output_dir}")


def convert_labels(
    annotations: Annotated[Path, typer.Argument(help="Time ranges: CSV, or what a labeling tool exported.")],
    output: Annotated[Path, typer.Argument(help="File to write: .csv, .boris, .eaf, .xml (CVAT) or .json.")],
    videos: Annotated[
        Path | None, typer.Option(help="Folder with the videos; the one of the annotations by default.")
    ] = None,
    file_format: LabelFormat = "auto",
    to: Annotated[
        Literal["auto", "csv", "kinetics", "vott", "activitynet", "label_studio", "cvat", "boris", "elan"],
        typer.Option(help="What to write; 'auto' knows it by the suffix, but for .json."),
    ] = "auto",
    end_tag: EndTag = "dummy",
    fps: LabelFps = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row.")] = False,
) -> None:
    """Turn the time ranges of one labeling tool into those of another.

    What cannot be read, or what the other has no place for, is listed. CVAT and ELAN get one file per video.
    """
    from harkeras.data.annotation_writers import write_annotations
    from harkeras.data.annotations import read_annotations

    ranges = read_annotations(
        annotations, videos, format=file_format, end_tag=end_tag, fps=fps, strict=strict
    )
    files = write_annotations(ranges, output, videos, format=to, end_tag=end_tag, fps=fps)
    print_text("\n".join(map(str, files)))
