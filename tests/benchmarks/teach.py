"""How few answers teach a model? Suggestions against a random choice, on recordings that nobody labeled.

    python tests/benchmarks/teach.py [data_dir] [--work DIR] [--seeds 5] [--plot teach.png]
    python tests/benchmarks/teach.py --hour     how long it takes, with an hour of recordings

A machine that knows the true ranges plays the person: it is shown a suggested range, and answers with what
most of it is, and with the borders of that inside it. Nothing else is labeled at first. After every few
answers a head is fitted, and scored on all true ranges of recordings that are held out.

- falls: the 23 home videos, "Falling" against all else, one person held out at a time;
- fights: the clips of each of the 46 sources joined to one long video, a quarter of the sources held out.

Suggestions are those of `Project.suggest`. At random: windows of the same length, anywhere in the recordings
that are learned from, with the same answers.
"""

import argparse
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from harkeras import Annotation, Project, VideoWriter, iter_frames, list_videos, read_annotations
from harkeras.data import read_groups
from harkeras.data.splits import split_rows_by_group
from harkeras.teaching import Suggestion
from harkeras.teaching._learning import fit_windows, score_ranges

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ROUND, ROUNDS = 6, 10
MOVED_SECONDS = 0.5  # borders are moved if so much remains


def read_falls(data_dir, _work):
    """Return the videos, the person in each, and the true ranges; all that is no fall is nothing."""
    truth = []
    for each in read_annotations(data_dir / "falls"):
        if Path(each.video).is_file():
            truth.append(each._replace(label="Falling" if each.label == "Falling" else "Nothing"))
    videos = sorted({each.video for each in truth})
    return videos, [video.parent.parent.name for video in videos], truth


def read_fights(data_dir, work):
    """Join the clips of each source, in a random order, to one video."""
    videos, labels = list_videos(data_dir / "surveillance_fights", ["Fight", "NoFight"])
    groups, rng = np.array(read_groups(videos)), np.random.default_rng(27)
    truth, joined = [], []
    for group in tqdm(np.unique(groups), "Joining"):
        path, seconds, rows = (
            work / f"{Path(group).name}.mp4",
            0.0,
            rng.permutation(np.flatnonzero(groups == group)),
        )
        joined.append(path)
        clips = [[frame.image for frame in iter_frames(videos[row], height=240, width=320)] for row in rows]
        if not path.exists():
            with VideoWriter(path, fps=25) as writer:
                for clip in clips:
                    for image in clip:
                        writer.write(image)
        for row, clip in zip(rows, clips, strict=True):
            end = seconds + len(clip) / 25
            truth.append(Annotation(path, seconds, end, ("Fight", "NoFight")[labels[row]]))
            seconds = end
    return joined, [path.stem for path in joined], truth


def answer(project, suggestion, truth):
    """Label a suggestion as what most of it is."""
    best, label, times = 0.0, project.nothing, (suggestion.start_seconds, suggestion.end_seconds)
    for each in truth:
        start = max(each.start_seconds, suggestion.start_seconds)
        end = min(each.end_seconds, suggestion.end_seconds)
        if each.video == suggestion.video and end - start > best:
            best, label = end - start, each.label
            times = (start, end) if best >= MOVED_SECONDS else times
    project.answer(suggestion, label, start_seconds=times[0], end_seconds=times[1])


def draw(project, count, rng, seconds=2.0):
    """Draw windows at random from what is learned from and was not answered yet."""
    drawn, recordings = [], [each for each in project.recordings if not each.held_out]
    lengths = np.array([each.seconds for each in recordings])
    while len(drawn) < count:
        each = recordings[rng.choice(len(recordings), p=lengths / lengths.sum())]
        start = float(rng.uniform(0, max(each.seconds - seconds, 1e-3)))
        video = project.path_of(each)
        drawn.append(Suggestion(video, start, min(start + seconds, each.seconds), "", 0.0, "new"))
    return drawn


def score(project):
    """Fit a head to the answers, and score it on the recordings that are held out."""
    settings, ranges = project._lessons.settle()
    learned = project._lessons.labeled(settings, ranges, held_out=False)
    test = project._lessons.labeled(settings, ranges, held_out=True)
    if len(np.unique(learned.labels)) < 2:
        return 1 / len(np.unique(test.labels))
    return score_ranges(fit_windows(learned).of_ranges(test), test, "held out").balanced_accuracy


def simulate(folder, data, held_out, strategy, seed, features):
    """Teach from nothing; return the balanced accuracy after each round."""
    videos, sources, truth = data
    shutil.rmtree(folder, ignore_errors=True)
    project = Project.create(folder, clip_seconds=2.0, seed=seed)
    (folder / "features").symlink_to(features.resolve())
    for source in sorted(set(sources)):
        of_source = [video for video, other in zip(videos, sources, strict=True) if other == source]
        project.add(of_source, source=source, held_out=source in held_out)
    project.compute_features(lambda share: None)
    tested = {video for video, source in zip(videos, sources, strict=True) if source in held_out}
    project.import_ranges(each for each in truth if each.video in tested)
    rng, scores = np.random.default_rng(seed), []
    for _ in range(ROUNDS):
        for each in project.suggest(ROUND) if strategy == "suggested" else draw(project, ROUND, rng):
            answer(project, each, truth)
        scores.append(score(project))
    return scores


def measure_hour(data_dir, work):
    """Say how long it takes to look at an hour, and from an answer to new suggestions."""
    videos, labels = list_videos(data_dir / "surveillance_fights", ["Fight", "NoFight"])
    recordings, truth, rng = [], [], np.random.default_rng(27)
    clips = [[frame.image for frame in iter_frames(video, height=240, width=320)] for video in videos]
    for number in range(6):  # ten minutes each: all clips in another order
        path, frames = work / "hour" / f"{number}.mp4", 0
        rows = rng.permutation(len(clips))
        for row in rows:
            start, frames = frames / 25, frames + len(clips[row])
            truth.append(Annotation(path, start, frames / 25, ("Fight", "NoFight")[labels[row]]))
        if not path.exists():
            with VideoWriter(path, fps=25) as writer:
                for row in tqdm(rows, f"Joining {number + 1} of 6", disable=None):
                    for image in clips[row]:
                        writer.write(image)
        recordings.append(path)
    shutil.rmtree(work / "hour_project", ignore_errors=True)
    project = Project.create(work / "hour_project", clip_seconds=2.0)
    project.add(recordings)
    print(
        f"\n{sum(each.seconds for each in project.recordings) / 3600:.2f} hours, 320 x 240 pixels, 25 "
        "frames/s"
    )
    with clock("looking at all of it, once"):
        project.compute_features(lambda share: None)
    project = Project(project.folder)
    with clock("the first suggestions, in a new process"):
        suggestions = project.suggest(12)
    for _ in range(5):
        for each in suggestions:
            answer(project, each, truth)
        suggestions = project.suggest(12)
    with clock(f"an answer, with {len(project.ranges)} labels"):
        answer(project, suggestions[0], truth)
    with clock("new suggestions after it"):
        project.suggest(12)
    held_out = {project.path_of(each) for each in project.recordings if each.held_out}
    project.import_ranges(each for each in truth if each.video in held_out)
    with clock(f"training anew, scored on {sum(each.video in held_out for each in truth)} ranges"):
        print(project.retrain())


@contextmanager
def clock(what):
    """Print how long a block took, and how much of the processors."""
    seconds, processor = time.perf_counter(), time.process_time()
    yield
    seconds, processor = time.perf_counter() - seconds, time.process_time() - processor
    print(f"{what:<45} {seconds:7.2f} s, {processor:7.2f} s of the processors", flush=True)


def list_held_out(name, data, seeds):
    """Return the sources held out, and the seed, of each run."""
    _, sources, truth = data
    if name == "falls":
        return [({person}, seed) for person in sorted(set(sources)) for seed in range(seeds)]
    labels = np.array([each.label == "Fight" for each in truth]).astype(int)
    groups, runs = np.array([each.video.stem for each in truth]), []
    for seed in range(seeds):
        _, test = split_rows_by_group(labels, groups, test_size=0.25, seed=seed)
        runs.append((set(groups[test].tolist()), seed))
    return runs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=Path, default=DATA)
    parser.add_argument("--work", type=Path, default=Path("teach"), help="folder for videos and projects")
    parser.add_argument("--only", choices=("falls", "fights"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--hour", action="store_true", help="only measure times, with an hour of recordings")
    options = parser.parse_args()
    (options.work / "features").mkdir(parents=True, exist_ok=True)
    if options.hour:
        measure_hour(options.data_dir, options.work)
        return
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = dict(zip(("falls", "fights"), figure.subplots(1, 2), strict=True))
    answers = ROUND * np.arange(1, ROUNDS + 1)
    for name, read in (("falls", read_falls), ("fights", read_fights)):
        if options.only not in (None, name):
            continue
        data = read(options.data_dir, options.work)
        runs = list_held_out(name, data, options.seeds)
        print(
            f"\n{name}: balanced accuracy on what is held out, mean of {len(runs)} runs (and their deviation)"
        )
        print("answers   " + "".join(f"{count:>14}" for count in answers))
        for strategy in ("suggested", "random"):
            began, scores = time.perf_counter(), []
            for held_out, seed in tqdm(runs, f"{name}, {strategy}", disable=None):
                folder = options.work / f"{name}_{strategy}"
                scores.append(simulate(folder, data, held_out, strategy, seed, options.work / "features"))
            mean, deviation = np.mean(scores, axis=0), np.std(scores, axis=0)
            cells = (f"{m:8.3f} {d:5.3f}" for m, d in zip(mean, deviation, strict=True))
            print(f"{strategy:<10}" + "".join(cells) + f"  ({time.perf_counter() - began:.0f} s)", flush=True)
            axes[name].plot(answers, mean, marker="o", label=f"{strategy}, mean of {len(runs)} runs")
        axes[name].axhline(0.5, color="gray", linestyle="--", label="chance")
        axes[name].set(title=name, xlabel="answers", ylabel="balanced accuracy, held out", ylim=(0.45, 0.9))
        axes[name].legend()
    if options.plot:
        figure.savefig(options.plot, dpi=120)


if __name__ == "__main__":
    main()
