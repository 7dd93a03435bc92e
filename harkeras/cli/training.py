"""`harkeras demo` and `harkeras train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harkeras.cli import options
from harkeras.cli.terminal import print_files, print_segments, print_text, quiet

if TYPE_CHECKING:
    from harkeras.workflow import TrainedModel

Model = Annotated[
    str,
    typer.Option(
        help="One of the names that 'harkeras models' lists; a published network of videos, such as "
        "movinet-a0-kinetics600, r3d-kinetics400 or i3d-kinetics400, which gets a new last layer and is "
        "tuned; or 'auto': it finds what suits the clips, on top of a network trained on photographs."
    ),
]
OutputDir = Annotated[
    Path, typer.Option(help="Folder in which the run, the model and its report, gets a folder of its own.")
]
FlowMethod = Annotated[
    Literal["dis", "farneback", "tvl1"] | None,
    typer.Option(help="How to compute the flow, where there is any; dis."),
]
PerPerson = Annotated[
    bool,
    typer.Option(
        "--per-person",
        help="Look at a square around the largest person of each clip, or at that person's "
        "joints, not at whole frames: --subject person.",
    ),
]
Subject = Annotated[
    str | None,
    typer.Option(
        help="What to look at: 'frame', the whole of it; 'people', one square around all people of a clip; "
        "'frame+people', both side by side; 'person', a square that goes along with the largest. With auto, "
        "several may be named, as frame,people: it also tries both at once, and takes what does best inside "
        "the training clips.",
    ),
]
Option = Annotated[
    list[str] | None,
    typer.Option(
        help="An argument of the model's builder, as NAME=VALUE; may be repeated. Of a published network "
        "also backbone_factor: all layers but the last learn at this times the learning rate, 0.1."
    ),
]
Split = Annotated[
    Literal["group", "random", "official"],
    typer.Option(
        help="How test clips are chosen: 'group' keeps the clips of one source video together; 'random' does "
        "not, and overstates the accuracy; 'official' reads the files in --split-dir."
    ),
]
Prefer = Annotated[
    Literal["balanced", "speed", "accuracy"] | None,
    typer.Option(
        help="What auto takes. 'balanced', its default: the cheapest candidate that is behind the best by no "
        "more than one standard error over the sources; 'speed': by no more than two; 'accuracy': the best."
    ),
]
Augment = Annotated[
    bool, typer.Option("--augment/--no-augment", help="Change the clips a little, at random, each time.")
]
Joins = Annotated[
    float | None,
    typer.Option(
        help="Share of the training clips that begin or end in another action, as windows of a long video "
        "do; 0.5 is a good start where long videos are to be named."
    ),
]
Distribute = Annotated[
    bool,
    typer.Option(
        "--distribute",
        help="Let all GPUs of this host compute a part of each batch; with KERAS_BACKEND=jax also those of "
        "other hosts, which run the same command with KERAS_DISTRIBUTION_JOB_ADDRESSES, the host and port of "
        "the first, KERAS_DISTRIBUTION_NUM_PROCESSES, and KERAS_DISTRIBUTION_PROCESS_ID, from 0.",
    ),
]
MixedPrecision = Annotated[
    bool,
    typer.Option(
        "--mixed-precision",
        help="Compute in 16 bits where the model allows it: faster on GPUs with tensor cores, slower on most "
        "CPUs. The saved model computes in 32.",
    ),
]


def demo(
    output_dir: Annotated[Path, typer.Option(help="Folder for all that is written.")] = Path("harkeras_demo"),
    seed: options.Seed = 27,
) -> None:
    """Run the whole job on rendered clips.

    Renders a small data set, trains, scores on people and places that training has not seen, and names the
    actions of a long video. It takes a few minutes.
    """
    with quiet():
        from harkeras.data.augment import Augmentation, Pan, default_augmentation
        from harkeras.data.samples import create_sample_dataset, create_sample_video
        from harkeras.inference.prediction import predict_on_video
        from harkeras.workflow import train_on_folder
    # Many people and places, one clip of each action: what is new in a second clip is little.
    clips = create_sample_dataset(output_dir / "clips", groups=120, clips_per_group=1, seed=seed)
    trained = train_on_folder(
        clips,
        "lrcn",
        output_dir=output_dir / "model",
        batch_size=8,
        epochs=60,
        patience=20,
        # In the long video the camera goes along with the person, and there are borders between actions.
        augment=Augmentation([*default_augmentation().filters, Pan((-0.6, 0.6))], "all"),
        joins=0.5,
        seed=seed,
    )
    print_text(f"\n{trained.evaluation}\n")
    video, annotated = output_dir / "long_video.mp4", output_dir / "long_video_actions.mp4"
    truth = create_sample_video(video, seed=seed)
    table = annotated.with_suffix(".csv")
    prediction = predict_on_video(video, trained.model, annotated, timeline=table)
    print_text("\nThe long video, of a person and a place that training has not seen:")
    print_segments(prediction.segments)
    print_text("What really happens in it:")
    print_segments(truth)
    files = {"the clips": clips, **_files_of(trained)}
    print_files(files | {"the long video": video, "with its actions": annotated, "as a table": table})
    print_text("Next, with your own clips in FOLDER/<class>/<clip>.mp4:\n")
    print_text("  harkeras train FOLDER")
    print_text("  harkeras predict VIDEO --output actions.mp4")


def train(
    data_dir: options.DataDir,
    model: Model = "auto",
    output_dir: OutputDir = Path("saved_models"),
    classes: options.Classes = None,
    frames: options.Frames = None,
    height: options.Height = None,
    width: options.Width = None,
    streams: options.Streams = "rgb",
    flow_fields: options.FlowFields = None,
    flow_method: FlowMethod = None,
    per_person: PerPerson = False,
    subject: Subject = None,
    option: Option = None,
    prefer: Prefer = None,
    group_by: options.GroupBy = None,
    split: Split = "group",
    split_dir: options.SplitDir = None,
    test_size: Annotated[float, typer.Option(help="Share of the clips to test on.")] = 0.25,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    patience: options.Patience = None,
    learning_rate: options.LearningRate = None,
    augment: Augment = False,
    joins: Joins = None,
    resume: Annotated[Path | None, typer.Option(help="File of the state; training goes on from it.")] = None,
    distribute: Distribute = False,
    mixed_precision: MixedPrecision = False,
    cache: options.Cache = None,
    workers: options.Workers = None,
    seed: options.Seed = 27,
) -> None:
    """Train a model on a folder of clips.

    The model is scored on clips of source videos that it was not trained on, and saved with its report.
    Ctrl-C after the first epoch ends the training early; the best model so far is scored and saved. Epochs,
    batches, patience, learning rate, augmentation, joins, resume, distribute and mixed precision are for
    models that are trained from end to end, not for auto.
    """
    with quiet():
        from harkeras.data.augment import default_augmentation
        from harkeras.training.distribution import join_processes
        from harkeras.transfer.auto import find_trainer
        from harkeras.workflow import train_on_folder
    if distribute:
        join_processes()
    shape, more_options = find_trainer(model).read_shape(model, (frames, height, width), streams, flow_fields)
    clips = {"classes": options.read_names(classes), "input_shape": shape, "flow_method": flow_method}
    clips |= {"subject": _subject(per_person, subject), "group_by": group_by}
    how = {"split": split, "split_dir": split_dir, "test_size": test_size, "seed": seed}
    settings = {"epochs": epochs, "batch_size": batch_size, "patience": patience, "joins": joins}
    settings |= {"resume": resume, "distribute": distribute or None}
    settings["mixed_precision"] = mixed_precision or None
    settings["augment"] = default_augmentation(streams) if augment else None
    trained = train_on_folder(
        data_dir,
        model,
        output_dir=output_dir,
        model_options=options.read_model_options(option or [], prefer=prefer) | more_options,
        cache=cache,
        workers=workers,
        **clips,
        **how,
        **options.training_settings(learning_rate, **settings),
    )
    _print_trained(trained)


def _subject(per_person: bool, subject: str | None) -> str | None:
    if per_person and subject not in (None, "person"):
        raise ValueError(f"subject must be 'person' with per-person, got {subject!r}")
    return "person" if per_person else subject


def _print_trained(trained: TrainedModel) -> None:
    print_text(f"\n{trained.evaluation}")
    print_files(_files_of(trained))
    print_text(f"Next: harkeras predict VIDEO --model {trained.folder} --output actions.mp4")


def _files_of(trained: TrainedModel) -> dict[str, Path]:
    """Name the most important files that training wrote."""
    names = {"the model": trained.path, "its report": trained.report}
    pictures = {"curves": "accuracy.png", "confusions": "confusion.png", "mistakes": "mistakes.png"}
    pictures |= {"people": "people.png"}
    names |= {name: trained.folder / file for name, file in pictures.items()}
    return {name: path for name, path in names.items() if path.exists()} | {"all of the run": trained.folder}
