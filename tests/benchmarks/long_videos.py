"""Actions of long videos, and where one ends and the next begins: against the true timeline.

    python tests/benchmarks/long_videos.py [--seeds 100 109] [--work-dir DIR] [--model FILE ...]

`create_sample_video` renders one video per seed: one person, at one place that no training clip shows, walks,
sits down, stands up, runs and falls. Three LRCNs name its actions, trained on the clips of `harkeras demo`:
on the clips as they are; changed at random (`augment`), for twice as long; and changed and joined (`joins`),
so that they begin or end in another action. Each decides twice, on the same probabilities: as a live stream
does (`causal`), and on the whole file. What each makes of single clips of unseen sources is said, too.

"Right" is the share of the time whose label is right. A border is found where the file has one between the
same two labels; its error is the distance to the nearest. Choose settings on some seeds, and report others.
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
from harkeras.data import default_augmentation

ROOT = Path(__file__).resolve().parents[2]
SEED, SHAPE = 27, (20, 64, 64, 3)
LONG = {"epochs": 80, "patience": 20}
# How each is trained, and what it is shown.
TRAININGS = {
    "plain": ({"epochs": 40}, {}),
    "augmented": (LONG, {"augment": default_augmentation()}),
    "joined": (LONG, {"augment": default_augmentation(), "joins": 0.5}),
}


def train_lrcn(path, train_set):
    """Train in the way that a file is named after, unless it is there."""
    if not path.exists():
        fitting, shown = TRAININGS[path.stem]
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs=2, default=(100, 109), help="the first and the last")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "data" / "long_videos")
    parser.add_argument("--model", type=Path, nargs="+", help="instead of the three in WORK_DIR")
    options = parser.parse_args()
    work_dir = options.work_dir
    dataset = create_dataset(create_sample_dataset(work_dir / "clips", seed=SEED))
    train_set, test_set = dataset.split(seed=SEED)
    videos = {}
    for seed in range(options.seeds[0], options.seeds[1] + 1):
        path = work_dir / f"{seed}.mp4"
        videos[path] = create_sample_video(path, seed=seed)
    print("trained    decided      right: mean (worst)  border error: median, largest  missed   each video")
    for path in options.model or [work_dir / f"{name}.keras" for name in TRAININGS]:
        model, name = train_lrcn(path, train_set), path.stem
        for causal in (True, False):
            shares, errors = [], []
            for video, truth in videos.items():
                segments = predict_on_video(video, model, causal=causal, progress=False).segments
                shares.append(share_right(truth, segments))
                errors += border_errors(truth, segments)
            found = [error for error in errors if error is not None] or [np.nan]
            decided = "as a stream" if causal else "whole file"
            line = f"{name:<10} {decided:<12} {np.mean(shares):11.3f} ({min(shares):.3f})"
            line += (
                f" {np.median(found):19.2f} s {max(found):6.2f} s {errors.count(None):4d}/{len(errors)}   "
            )
            print(line + " ".join(f"{share:.2f}" for share in shares), flush=True)
        accuracy = evaluate(model, test_set).accuracy
        print(f"{name}: {accuracy:.3f} of single clips, of people and places never seen, right", flush=True)


if __name__ == "__main__":
    main()
