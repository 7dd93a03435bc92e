"""Actions of long videos, and where one ends and the next begins: against the true timeline.

    python tests/benchmarks/long_videos.py [--seeds 100 109] [--work-dir DIR] [--model FILE ...]

`create_sample_video` renders one video per seed: one person, at one place that no training clip shows, walks,
sits down, stands up, runs and falls. Four LRCNs name its actions, each trained on rendered
clips: on the clips as they are; changed at random (`augment`), for twice as long; changed and joined
(`joins`), so that they begin or end in another action; and as `harkeras demo` does it: so again, on clips of
three times as many people and places, in which the picture drifts (`Pan`). Each decides twice, on the same
probabilities: as a live stream does (`causal`), and on the whole file. What each makes of single clips of
unseen sources is said, too.

"Right" is the share of the time whose label is right. A border is found where the file has one between the
same two labels; its error is the distance to the nearest. Choose settings on some seeds, and report others.

Models that are in the folder already are not trained again. Given ones (`--model`) are looked at instead of
the four, on the clips of the last.
"""

import argparse
import os
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from harkeras import (
    create_dataset,
    create_lrcn_model,
    create_sample_dataset,
    create_sample_video,
    evaluate,
    load_model,
    predict_on_video,
    save_model,
    train,
)
from harkeras.data.augment import Augmentation, Pan, default_augmentation

ROOT = Path(__file__).resolve().parents[2]
SEED, SHAPE = 27, (20, 64, 64, 3)
FEW, MANY = {"groups": 40, "clips_per_group": 2}, {"groups": 120, "clips_per_group": 1}
LONG, WIDE = {"epochs": 80, "patience": 20}, {"epochs": 60, "patience": 20}
# The clips that each learns from, how long, and how they are shown.
TRAININGS = {
    "plain": (FEW, {"epochs": 40}, {}),
    "augmented": (FEW, LONG, {"augment": default_augmentation()}),
    "joined": (FEW, LONG, {"augment": default_augmentation(), "joins": 0.5}),
    "demo": (
        MANY,
        WIDE,
        {"augment": Augmentation([*default_augmentation().filters, Pan((-0.6, 0.6))], "all"), "joins": 0.5},
    ),
}


def split_clips(work_dir, sources):
    """Render clips, and keep a quarter of their sources for the test."""
    folder = work_dir / f"clips_of_{sources['groups']}"
    return create_dataset(create_sample_dataset(folder, **sources, seed=SEED)).split(seed=SEED)


def train_lrcn(path, train_set, fitting, shown):
    """Train, unless the file is there."""
    if not path.exists():
        keras.utils.set_random_seed(SEED)
        model = create_lrcn_model(len(train_set.classes), SHAPE)
        train(model, train_set.for_training(**shown), batch_size=8, seed=SEED, **fitting)
        save_model(model, path)
    return load_model(path)


def share_right(truth, segments):
    """The share of the time for which true and decided label are the same."""
    right = sum(
        max(min(true.end_seconds, segment.end_seconds) - max(true.start_seconds, segment.start_seconds), 0)
        for true in truth
        for segment in segments
        if true.label == segment.label
    )
    return right / truth[-1].end_seconds


def border_errors(truth, segments):
    """The distance of each true border to the nearest decided one between the same labels, None if missed."""
    decided = [
        (segment.start_seconds, (before.label, segment.label)) for before, segment in pairwise(segments)
    ]
    errors = []
    for before, true in pairwise(truth):
        pair = before.label, true.label
        errors.append(
            min((abs(true.start_seconds - at) for at, labels in decided if labels == pair), default=None)
        )
    return errors


def train_all(work_dir):
    """Yield the name of each training, its model, and clips of sources that it has not seen."""
    for name, (sources, fitting, shown) in TRAININGS.items():
        train_set, test_set = split_clips(work_dir, sources)
        path = work_dir / f"{name}.keras"
        yield name, train_lrcn(path, train_set, fitting, shown), test_set


def score(model, videos, causal):
    """Say in a line of the table what a model makes of the videos."""
    shares, errors = [], []
    for video, truth in videos.items():
        segments = predict_on_video(video, model, causal=causal, progress=False).segments
        shares.append(share_right(truth, segments))
        errors += border_errors(truth, segments)
    found = [error for error in errors if error is not None] or [np.nan]
    line = f"{'as a stream' if causal else 'whole file':<12} {np.mean(shares):11.3f} ({min(shares):.3f})"
    line += f" {np.median(found):19.2f} s {max(found):6.2f} s {errors.count(None):4d}/{len(errors)}   "
    return line + " ".join(f"{share:.2f}" for share in shares)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs=2, default=(100, 109), help="the first and the last")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "data" / "long_videos")
    parser.add_argument("--model", type=Path, nargs="+", default=[], help="instead of the four in WORK_DIR")
    options = parser.parse_args()
    work_dir = options.work_dir
    videos = {}
    for seed in range(options.seeds[0], options.seeds[1] + 1):
        path = work_dir / f"{seed}.mp4"
        videos[path] = create_sample_video(path, seed=seed)
    if options.model:
        _, test_set = split_clips(work_dir, MANY)
        models = ((path.stem, load_model(path), test_set) for path in options.model)
    else:
        models = train_all(work_dir)
    print("trained    decides      right: mean (worst)  border error: median, largest  missed   each video")
    for name, model, test_set in models:
        for causal in (True, False):
            print(f"{name:<10} {score(model, videos, causal)}", flush=True)
        accuracy = evaluate(model, test_set).accuracy
        print(f"{name}: {accuracy:.3f} of single clips, of people and places never seen, right", flush=True)


if __name__ == "__main__":
    main()
