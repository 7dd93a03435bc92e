"""`harkeras compare`, `harkeras evaluate` and `harkeras models`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harkeras.cli import options
from harkeras.cli.terminal import print_files, print_text, quiet

if TYPE_CHECKING:
    from harkeras.evaluation.recording_scores import RecordingsEvaluation

Models = Annotated[
    str,
    typer.Option(
        help="Names of models, separated by commas, options behind colons: "
        "c3d:width_multiplier=0.25,lrcn,auto. "
        "Only auto finds frames, their size and how to train by itself."
    ),
]


def compare(
    data_dir: options.DataDir,
    models: Models = "single_frame:width_multiplier=0.25,late_fusion:width_multiplier=0.25,lrcn",
    output_dir: Annotated[
        Path, typer.Option("--output", help="Folder for the tables, the page and finished rows.")
    ] = Path("comparison"),
    classes: options.Classes = None,
    frames: options.Frames = None,
    height: options.Height = None,
    width: options.Width = None,
    streams: options.Streams = "rgb",
    flow_fields: options.FlowFields = None,
    group_by: options.GroupBy = None,
    split: Annotated[str, typer.Option(help="group, random or official; several with commas.")] = "group",
    split_dir: options.SplitDir = None,
    folds: Annotated[
        str, typer.Option(help="Number of folds; 'groups' leaves one source out each time.")
    ] = "5",
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    patience: options.Patience = None,
    learning_rate: options.LearningRate = None,
    workers: options.Workers = None,
    seed: options.Seed = 27,
) -> None:
    """Cross-validate several models on the same folds, and write one table.

    A row that is finished is not run again, so the command may be interrupted and repeated.
    """
    with quiet():
        from harkeras.evaluation.comparison import Contestant, markdown_table
        from harkeras.evaluation.comparison import compare as compare_models
        from harkeras.training.trainer import complete_shape
        from harkeras.transfer.auto import find_trainer
    contestants = []
    for each in re.split(r",(?![^()]*\))", models):  # commas, but for those of a tuple
        name, *texts = each.strip().split(":")
        contestants.append(Contestant(name, options.read_model_options(texts)))
    training = options.training_settings(
        learning_rate, epochs=epochs, batch_size=batch_size, patience=patience
    )
    if any(find_trainer(each.model).takes_settings for each in contestants):
        training = {"epochs": 30, "batch_size": 8} | training
    shape = None
    if (frames, height, width, flow_fields, streams) != (None, None, None, None, "rgb"):
        shape = complete_shape((frames, height, width), (20, 64, 64), streams, flow_fields)
    rows = compare_models(
        data_dir,
        contestants,
        output_dir=output_dir,
        classes=options.read_names(classes),
        input_shape=shape,
        group_by=group_by,
        splits=options.read_names(split),
        folds=options.read_folds(folds),
        split_dir=split_dir,
        workers=workers,
        seed=seed,
        **training,
    )
    print_text(f"\n{markdown_table(rows)}")
    print_files({name: output_dir / f"comparison.{name}" for name in ("html", "csv", "md")})


def evaluate(
    model: Annotated[Path, typer.Argument(help="The folder of a run, or a .keras file.")],
    data_dir: Annotated[
        Path | None,
        typer.Argument(
            help="Folder with one folder of clips per class; of a run, where they were. With --recordings, "
            "the folder with the videos; that of the table by default."
        ),
    ] = None,
    clips: Annotated[
        Literal["recorded", "held-out", "all"] | None,
        typer.Option(
            help="'recorded', for a run: those that it was tested on; 'held-out', for a file: those that the "
            "model was not trained on, nor their sources, as its file says; 'all': every clip of a folder "
            "that is new to it. With --recordings: 'held-out' or 'all'."
        ),
    ] = None,
    classes: options.Classes = None,
    cache: options.Cache = None,
    workers: options.Workers = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            help="Table of time ranges, as for cut: score the model on these whole recordings, as a live "
            "stream: events found, false alarms per hour, delay, segments."
        ),
    ] = None,
    file_format: Annotated[
        options.FormatName,
        typer.Option("--format", help="What the table of recordings is; 'auto' looks at its content."),
    ] = "auto",
    actions: Annotated[
        str | None,
        typer.Option(help="With --recordings: actions that are watched for, with commas; all by default."),
    ] = None,
    on_seconds: Annotated[
        float | None, typer.Option(help="With --recordings: how long an action must hold to begin; 1.")
    ] = None,
    off_seconds: Annotated[
        float | None, typer.Option(help="With --recordings: how long it must be gone to end; 1.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="With --recordings: a .json file for the scores.")
    ] = None,
) -> None:
    """Score a saved model on clips it has not seen, or on whole recordings."""
    with quiet():
        from harkeras.evaluation.held_out import evaluate_on_folder
    of_clips = {"classes": options.read_names(classes), "cache": cache, "workers": workers}
    times = {"on_seconds": on_seconds, "off_seconds": off_seconds}
    of_recordings = {"actions": options.read_names(actions), **times}
    if recordings is None:
        _refuse(of_recordings | {"output": output}, "only mean something with --recordings")
        evaluation = evaluate_on_folder(model, data_dir, clips=clips, **of_clips)
    else:
        _refuse(of_clips, "mean nothing with --recordings")
        settings = {name: value for name, value in of_recordings.items() if value is not None}
        settings["recordings"] = clips or "held-out"
        evaluation = _evaluate_recordings(model, recordings, data_dir, file_format, output, settings)
    print_text(f"\n{evaluation}")


def _refuse(values: dict[str, Any], why: str) -> None:
    """Raise ValueError for options that would do nothing."""
    if names := [f"--{name.replace('_', '-')}" for name, value in values.items() if value is not None]:
        raise ValueError(f"{', '.join(names)} {why}")


def _evaluate_recordings(
    model: Path,
    table: Path,
    videos: Path | None,
    file_format: Any,
    output: Path | None,
    settings: dict[str, Any],
) -> RecordingsEvaluation:
    with quiet():
        from harkeras.base.files import check_target, write_text
        from harkeras.data.annotations import read_annotations
        from harkeras.evaluation.recordings import evaluate_recordings
    if output is not None:
        check_target(output, "output", inputs=[model, table])
        if output.suffix.lower() != ".json":
            raise ValueError(f"output must end in .json, got {output}")
    annotations = read_annotations(table, videos, format=file_format)
    evaluation = evaluate_recordings(model, annotations, **settings)
    if output is not None:
        write_text(output, json.dumps(evaluation.to_dict(), indent=2, ensure_ascii=False) + "\n")
    return evaluation


def models() -> None:
    """List the models, as they are built by default for 4 classes; those of still images come last.

    Multiply-adds are those of one clip or image; many papers call them FLOPs. Builds every model to measure
    it, which takes some seconds.
    """
    with quiet():
        from harkeras.models import model_table
    line = "{:<17} {:<14} {:>11} {:>13}  {:<32} {}"
    print_text(line.format("name", "clip", "parameters", "multiply-adds", "paper", "file in models/"))
    for row in model_table():
        shape = "x".join(map(str, row.input_shape))
        unit, letter = (1e9, "G") if row.multiply_adds >= 1e9 else (1e6, "M")
        amount = f"{row.multiply_adds / unit:,.1f} {letter}"
        name, file = row.name, Path(row.file).name
        print_text(line.format(name, shape, f"{row.parameters:,}", amount, row.paper, file))
