"""`harkeras teach ...`: the commands of a project, see `harkeras.Project`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harkeras.cli import options
from harkeras.cli.terminal import print_text, quiet

if TYPE_CHECKING:
    from harkeras.data.annotations import Annotation as _Range
    from harkeras.teaching.project import Project as _Project

teach = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Teach a model by few labels: a project."
)

Folder = Annotated[Path, typer.Argument(metavar="PROJECT", help="Folder of the project.")]
_MOST_LINES = 10  # of what was left out
Person = Annotated[str, typer.Option(help="Who does it, where that is of interest.")]
Number = Annotated[int, typer.Argument(help="Number of a suggestion in the list.")]


def _open(folder: Path) -> _Project:
    with quiet():
        from harkeras.teaching.project import Project
    return Project(folder)


@teach.command()
def new(
    folder: Folder,
    classes: options.Classes = None,
    nothing: Annotated[str, typer.Option(help="Name of the class of what is between actions.")] = "Nothing",
    clip_seconds: Annotated[
        float | None, typer.Option(help="How much is looked at to name an action; as the labels are long.")
    ] = None,
    seed: options.Seed = 27,
) -> None:
    """Make a project."""
    with quiet():
        from harkeras.teaching.project import Project
    names = options.read_names(classes) or ()
    Project.create(folder, names, nothing=nothing, clip_seconds=clip_seconds, seed=seed)
    print_text(f"{folder} is a project. Next: harkeras teach add {folder} VIDEOS")


@teach.command()
def add(
    folder: Folder,
    videos: Annotated[list[str], typer.Argument(help="Files, folders, patterns or URLs.")],
    examples: Annotated[
        bool, typer.Option("--examples", help="They are folders of clips, one folder per class, all labeled.")
    ] = False,
    source: Annotated[
        str | None, typer.Option(help="What these share, such as a person: they are held out together.")
    ] = None,
    held_out: Annotated[
        bool | None,
        typer.Option(
            "--held-out/--to-learn",
            help="Score on these, or learn from them; a quarter by chance by default.",
        ),
    ] = None,
) -> None:
    """Add recordings, and let the frozen network look at them; it goes on where it was interrupted."""
    project = _open(folder)
    if examples and (source, held_out) != (None, None):
        raise ValueError("--source and --held-out mean nothing with --examples, whose names tell sources")
    parts = [project.add_examples(each) for each in videos] if examples else []
    parts = parts or [project.add(videos, source=source, held_out=held_out)]
    problems = {name: problem for part in parts for name, problem in part.unreadable.items()}
    problems |= project.compute_features()
    new, known = (sum(len(part[place]) for part in parts) for place in (0, 1))
    print_text(f"recordings added: {new}; there already: {known}")
    for name, problem in problems.items():
        print_text(f"cannot be read: {name}: {problem}")
    if new or known:
        print_text(f"Next: harkeras teach suggest {folder}")


@teach.command()
def label(
    folder: Folder,
    video: Annotated[str, typer.Argument(help="A recording of the project.")],
    start_seconds: Annotated[float, typer.Argument(help="Start of the range.")],
    end_seconds: Annotated[float, typer.Argument(help="Its end, not included.")],
    name: Annotated[str, typer.Argument(metavar="LABEL", help="What is done in it.")],
    person: Person = "",
) -> None:
    """Label a range of a recording."""
    print_text(_describe(_open(folder).label(video, start_seconds, end_seconds, name, person)))


def _describe(each: _Range) -> str:
    who = f", {each.person}" if each.person else ""
    return f"{each.label} {each.start_seconds:g} to {each.end_seconds:g} s of {each.video}{who}"


@teach.command()
def rest(
    folder: Folder,
    video: Annotated[str, typer.Argument(help="A recording of the project.")],
    end_seconds: Annotated[float | None, typer.Option(help="Until when; to its end by default.")] = None,
) -> None:
    """Say that a recording was looked at, and nothing happens where nothing is labeled."""
    project = _open(folder)
    added = project.label_rest(video, end_seconds)
    seconds = sum(each.end_seconds - each.start_seconds for each in added)
    print_text(f"{project.nothing}: {len(added)} range{'s' * (len(added) != 1)}, {seconds:.1f} s")


@teach.command("import")
def import_labels(
    folder: Folder,
    annotations: Annotated[Path, typer.Argument(help="Time ranges: CSV, or what a labeling tool exported.")],
    videos: Annotated[
        Path | None, typer.Option(help="Folder with the videos; the one of the annotations by default.")
    ] = None,
    file_format: options.LabelFormat = "auto",
    end_tag: options.EndTag = "dummy",
    fps: options.LabelFps = None,
) -> None:
    """Take over labels of others; recordings that are new are added."""
    with quiet():
        from harkeras.data.annotations import read_annotations
    project = _open(folder)
    ranges = read_annotations(annotations, videos, format=file_format, end_tag=end_tag, fps=fps)
    files = sorted({str(each.video) for each in ranges if Path(each.video).is_file()})
    problems = list(project.add(files).unreadable.items()) if files else []
    problems += project.compute_features().items() if project.recordings else []
    taken, left_out = project.import_ranges(ranges)
    lines = [*(f"{name}: {problem}" for name, problem in problems), *left_out]
    for line in lines[:_MOST_LINES]:
        print_text(f"left out: {line}")
    more = f" and {len(lines) - _MOST_LINES} more were left out" if len(lines) > _MOST_LINES else ""
    print_text(f"{len(taken)} of {len(ranges)} ranges were taken over{more}")


@teach.command()
def suggest(
    folder: Folder,
    count: Annotated[int, typer.Option(help="How many.")] = 12,
    held_out: Annotated[
        bool,
        typer.Option("--held-out", help="Of the recordings that are held out, at random, to score on."),
    ] = False,
    sheet: Annotated[Path | None, typer.Option(help="A .png for a contact sheet.")] = None,
) -> None:
    """Propose ranges to label; `harkeras teach answer` takes their numbers."""
    if sheet is not None:
        _check_sheet(sheet)
    project = _open(folder)
    project.compute_features()
    suggestions = project.suggest(count, held_out=held_out)
    if not suggestions:
        print_text("nothing is left to ask about: add recordings")
        return
    from harkeras.teaching.sheet import describe_suggestion, plot_suggestions

    for number, each in enumerate(suggestions, 1):
        print_text(f"{number:4d}  {describe_suggestion(each)}")
    if sheet is not None:
        from harkeras.base.files import written_whole

        with written_whole(sheet, suffix=".png") as partial:
            plot_suggestions(suggestions).savefig(partial, dpi=100)
    print_text(f"Next: harkeras teach answer {folder} NUMBER [LABEL]")


def _check_sheet(sheet: Path) -> None:
    from harkeras.base.files import check_target

    if sheet.suffix.lower() != ".png":
        raise ValueError(f"sheet must end in .png, got {sheet}")
    check_target(sheet, "sheet")


@teach.command()
def answer(
    folder: Folder,
    number: Number,
    name: Annotated[
        str | None, typer.Argument(metavar="[LABEL]", help="What it is; as suggested by default.")
    ] = None,
    start_seconds: Annotated[float | None, typer.Option(help="A better start.")] = None,
    end_seconds: Annotated[float | None, typer.Option(help="A better end.")] = None,
    person: Person = "",
    reject: Annotated[bool, typer.Option("--reject", help="It is not worth a label.")] = False,
) -> None:
    """Answer a suggestion: confirm it, say what it is, or reject it."""
    project = _open(folder)
    suggestions = project.suggestions
    if not 1 <= number <= len(suggestions):
        raise ValueError(
            f"number must be one of 1 to {len(suggestions)} of the last suggestions, got {number}"
        )
    each = suggestions[number - 1]
    if reject:
        if (name, start_seconds, end_seconds, person) != (None, None, None, ""):
            raise ValueError("--reject goes without a label, times and a person")
        project.reject(each)
        print_text(f"rejected: {each.start_seconds:g} to {each.end_seconds:g} s of {each.video}")
        return
    labeled = project.answer(each, name, start_seconds=start_seconds, end_seconds=end_seconds, person=person)
    print_text(_describe(labeled))


@teach.command()
def undo(folder: Folder) -> None:
    """Take the last answer back."""
    print_text(_open(folder).undo() or "there is nothing to take back")


@teach.command()
def retrain(folder: Folder) -> None:
    """Fit a model to all labels, and take it over unless it does worse than the one before."""
    project = _open(folder)
    project.compute_features()
    print_text(project.retrain())


@teach.command()
def status(
    folder: Folder,
    curve: Annotated[bool, typer.Option("--curve", help="Also say what more recordings would buy.")] = False,
) -> None:
    """Say what a project holds, and how good its model is."""
    project = _open(folder)
    print_text(project.describe())
    if curve:
        project.compute_features()
        print_text(project.learning_curve() or "too few sources for a learning curve")


@teach.command()
def cut(folder: Folder, output_dir: Annotated[Path, typer.Argument(help="Folder for the clips.")]) -> None:
    """Cut the labeled ranges into a folder of clips, one folder per class, to train from end to end."""
    clips = _open(folder).cut(output_dir)
    print_text(f"{len(clips)} clips in {output_dir}. Next: harkeras train {output_dir}")
