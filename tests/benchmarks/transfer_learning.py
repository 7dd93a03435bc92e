"""What pretraining buys on 300 real clips of fights, and how much of it is memory of the source videos.

    python tests/benchmarks/transfer_learning.py [data_dir] [--weights FILE] [--cache DIR] [--rows auto ...]

Each row is tested on every clip once, in 5 folds: by source video ("grouped": 46 sources, none on both
sides), and at random. Nothing is chosen on test clips: heads of statistics have the strength and the depth
of the network that cross-validation inside the training clips of each fold chose, and `auto` makes all its
choices there, anew in each fold. Features are computed once and kept in the cache; their time stands at the
end, and the seconds of a row are what one fold took after that: choice, training and test.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from harkeras.data.folders import read_folder
from harkeras.data.intervals import wilson_interval
from harkeras.data.loading import create_dataset
from harkeras.data.splits import list_folds
from harkeras.models import create_lrcn_model
from harkeras.training.fine_tuning import fine_tune
from harkeras.transfer.auto import train_auto
from harkeras.transfer.feature_dataset import create_feature_dataset
from harkeras.transfer.heads import HEADS, STATISTICS, create_head, fit_head

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "surveillance_fights"
WEIGHTS = ROOT.parent / "shared" / "models" / "mobilenet_v2_1.0_224_from_ptq_no_top.weights.h5"
SEED, FOLDS = 27, 5
LRCN_EPOCHS, TUNED_EPOCHS = 10, 3


class Clips:
    """Everything the rows share: the folder, and its frames and features as they are first asked for."""

    def __init__(self, data_dir, weights, cache):
        self.data_dir, self.weights, self.cache = data_dir, weights, cache
        self.folder = read_folder(data_dir)
        self.labels, self.groups = self.folder.labels, self.folder.sources.groups
        self.kept, self.seconds = {}, 0.0

    def features(self, **options):
        def read():
            return create_feature_dataset(self.folder, weights=self.weights, cache=self.cache, **options)

        return self._once(str(options), read)

    def frames(self, frames, height, width):
        size = {"frames": frames, "height": height, "width": width}
        return self._once(str(size), lambda: create_dataset(self.data_dir, **size))

    def _once(self, key, read):
        if key not in self.kept:
            start = time.perf_counter()
            self.kept[key] = read()
            assert len(self.kept[key]) == len(self.labels)  # all can be read, hence the rows are the same
            self.seconds += time.perf_counter() - start
        return self.kept[key]


def sources_for(dataset, split):
    """Return training clips with the sources that the split knows."""
    return dataset.without_sources() if split == "random" else dataset


def by_auto(clips, train, test, split, heads=HEADS, **options):
    """Train `auto` on the training rows; return its probabilities of the others, and what it chose."""
    dataset = clips.features(**options)
    trained = train_auto(sources_for(dataset[train], split), heads=heads, seed=SEED)
    head, features = dataset[test].for_model(trained.model)
    return head.predict(features, verbose=0), str(trained.chosen)


def by_head(name, inputs):
    def row(clips, train, test, split):
        if name in STATISTICS:
            return by_auto(clips, train, test, split, heads=(name,), inputs=inputs)
        table = clips.features(inputs=inputs).features
        (given,) = table.features
        values = table.pick(given, ("middle", "last"))
        head = create_head(name, len(clips.folder.classes), values.shape[1:])
        fit_head(head, values[train], clips.labels[train], seed=SEED)
        return head.predict(values[test], verbose=0), ""

    return row


def by_statistics(*given, flow=False):
    """Let cross-validation choose among heads of statistics, of one input."""

    def row(clips, train, test, split):
        return by_auto(clips, train, test, split, heads=tuple(STATISTICS), inputs=(given,), flow=flow)

    return row


def by_lrcn(clips, train, test, split):
    frames = clips.frames(20, 64, 64).features
    keras.utils.set_random_seed(SEED)
    model = create_lrcn_model(len(clips.folder.classes))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(frames[train], clips.labels[train], epochs=LRCN_EPOCHS, batch_size=8, verbose=0)
    return model.predict(frames[test], batch_size=16, verbose=0), ""


def by_tuning(clips, train, test, split):
    """Choose and fit a head of statistics, then fine-tune it with the last layers of the network."""
    dataset, pixels = clips.features(inputs=(TUNED,)), clips.frames(*TUNED)
    trained = train_auto(sources_for(dataset[train], split), heads=tuple(STATISTICS), seed=SEED)
    fine_tune(
        trained.model, pixels[train], epochs=TUNED_EPOCHS, batch_size=8, validation_split=0, seed=SEED,
        verbose=False,
    )  # fmt: skip
    return trained.model.predict(pixels.features[test], batch_size=8, verbose=0), str(trained.chosen)


LARGE, TUNED = ((16, 320),), (8, 96, 128)
ROWS = {
    "lrcn": ("LRCN from scratch", by_lrcn),
    **{name: (f"frozen, {name}", by_head(name, LARGE)) for name in HEADS},
    "small": ("frozen, 8 x 96 x 128", by_statistics(*TUNED)),
    "tuned": ("the same, fine-tuned", by_tuning),
    "rgb": ("frozen, 8 x 224", by_statistics(8, 224)),
    "flow": ("the same, with flow", by_statistics(8, 224, flow=True)),
    "auto": ("auto", by_auto),
}


def score(clips, row, split, verbose):
    """Return what was named right in each fold, and the seconds of a fold after the features."""
    hits, start, before = [], time.perf_counter(), clips.seconds
    for train, test in list_folds(clips.labels, clips.groups, split=split, folds=FOLDS, seed=SEED):
        keras.utils.clear_session()
        probabilities, chosen = row(clips, train, test, split)
        hits.append(probabilities.argmax(axis=1) == clips.labels[test])
        if verbose and chosen:
            print(f"    {split}: {chosen}", flush=True)
    return hits, (time.perf_counter() - start - (clips.seconds - before)) / FOLDS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=Path, default=DATA)
    parser.add_argument("--weights", default=WEIGHTS, help="a file, or imagenet")
    parser.add_argument("--cache", type=Path, default=ROOT / "data" / "features_of_fights")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--verbose", action="store_true", help="say what auto chose in each fold")
    options = parser.parse_args()
    start, clips = time.perf_counter(), Clips(options.data_dir, options.weights, options.cache)
    print(
        f"{'model':<24} {'split':<8} {'accuracy':>8}  {'95 % interval':<16} {'of the folds':<32} s per fold"
    )
    for title, row in (ROWS[name] for name in options.rows):
        for split in ("group", "random"):
            hits, seconds = score(clips, row, split, options.verbose)
            right = np.concatenate(hits)
            low, high = wilson_interval(int(right.sum()), len(right))
            each = " ".join(f"{part.mean():.3f}" for part in hits)
            line = f"{title:<24} {split:<8} {right.mean():8.3f}  {low:.3f} to {high:.3f}   {each:<32}"
            print(f"{line} {seconds:10.1f}", flush=True)
    minutes = (time.perf_counter() - start) / 60
    print(f"features and frames took {clips.seconds / 60:.1f} minutes, all of it {minutes:.1f}")


if __name__ == "__main__":
    main()
