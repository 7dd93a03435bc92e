"""What pretraining buys on 300 real clips of fights, and how much of it is memory of the source videos.

    python tests/benchmarks/transfer_learning.py [data_dir] [--weights FILE] [--cache DIR] [--rows auto ...]

Each row is tested on every clip once, in 5 folds: by source video ("grouped": 46 sources, none on both
sides), and at random. Nothing is chosen on test clips: heads of statistics have the strength and the depth
of the network that cross-validation inside the training clips of each fold chose, and `auto` makes all its
choices there, anew in each fold. Features are computed once and kept in the cache; the seconds are those of
all folds after that.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers, ops
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from harkeras.auto import head_features, train_auto
from harkeras.datasets import create_dataset, list_classes, list_videos
from harkeras.evaluation import wilson_interval
from harkeras.feature_table import read_feature_table
from harkeras.heads import HEADS, STATISTICS, create_head, fit_head
from harkeras.models import create_lrcn_model
from harkeras.models._backbones import image_backbone
from harkeras.splits import read_groups

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "surveillance_fights"
WEIGHTS = ROOT.parent / "shared" / "models" / "mobilenet_v2_1.0_224_from_ptq_no_top.weights.h5"
SEED, FOLDS = 27, 5
LRCN_EPOCHS, TUNED_EPOCHS = 10, 3


class Clips:
    """Everything the rows share: paths, labels, groups, and features as they are first asked for."""

    def __init__(self, data_dir, weights, cache):
        self.data_dir, self.weights, self.cache = data_dir, weights, cache
        self.classes = list_classes(data_dir)
        self.paths, self.labels = list_videos(data_dir)
        self.groups = read_groups(self.paths)
        self.tables = {}

    def table(self, **options):
        key = str(options)
        if key not in self.tables:
            table = read_feature_table(self.paths, weights=self.weights, cache=self.cache, **options)
            assert len(table.rows) == len(self.paths)
            self.tables[key] = table
        return self.tables[key]

    def frames(self, frames, height, width):
        key = (frames, height, width)
        if key not in self.tables:
            self.tables[key] = create_dataset(self.data_dir, frames=frames, height=height, width=width)[0]
        return self.tables[key]


def by_auto(clips, train, test, groups, heads=HEADS, **options):
    """Train `auto` on the training rows; return what it says of the others, and what it chose."""
    table = clips.table(**options)
    trained = train_auto(
        table, clips.labels, train, classes=clips.classes, groups=groups, heads=heads, seed=SEED
    )
    said = trained.head.predict(head_features(table, trained.chosen, test), verbose=0)
    return said, str(trained.chosen)


def by_head(name, inputs):
    def row(clips, train, test, groups):
        if name in STATISTICS:
            return by_auto(clips, train, test, groups, heads=(name,), inputs=inputs)
        table = clips.table(inputs=inputs)
        (given,) = table.features
        values = table.pick(given, ("middle", "last"))
        head = create_head(name, len(clips.classes), values.shape[1:])
        fit_head(head, values[train], clips.labels[train], seed=SEED)
        return head.predict(values[test], verbose=0), ""

    return row


def by_flow(clips, train, test, groups):
    return by_auto(clips, train, test, groups, heads=tuple(STATISTICS), inputs=((8, 224),), flow=True)


def by_rgb(clips, train, test, groups):
    return by_auto(clips, train, test, groups, heads=tuple(STATISTICS), inputs=((8, 224),))


def by_lrcn(clips, train, test, groups):
    frames = clips.frames(20, 64, 64)
    keras.utils.set_random_seed(SEED)
    model = create_lrcn_model(len(clips.classes))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(frames[train], clips.labels[train], epochs=LRCN_EPOCHS, batch_size=8, verbose=0)
    return model.predict(frames[test], batch_size=16, verbose=0), ""


def by_tuning(clips, train, test, groups, frames=8, height=96, width=128):
    """Fine-tune the last layers of the network under mean and difference, batch norm frozen."""
    pixels = clips.frames(frames, height, width)
    keras.utils.set_random_seed(SEED)
    network = image_backbone("mobilenet_v2", (height, width, 3), weights=clips.weights)
    for layer in network.layers:
        late = layer.name.startswith(("block_15", "block_16", "Conv_1"))
        layer.trainable = late and not isinstance(layer, layers.BatchNormalization)
    clip = keras.Input((frames, height, width, 3))
    x = network(ops.reshape(clip, (-1, height, width, 3)), training=False)
    x = ops.reshape(ops.mean(x, axis=(1, 2)), (-1, frames, x.shape[-1]))
    x = ops.concatenate([ops.mean(x, 1), 3 * ops.mean(ops.abs(x[:, 1:] - x[:, :-1]), 1)], -1)
    x = layers.Dropout(0.5)(x)
    model = keras.Model(clip, layers.Dense(len(clips.classes), activation="softmax")(x))
    rate = keras.optimizers.Adam(1e-4)
    model.compile(rate, "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(pixels[train], clips.labels[train], epochs=TUNED_EPOCHS, batch_size=8, verbose=0)
    return model.predict(pixels[test], batch_size=8, verbose=0), ""


LARGE = ((16, 320),)
ROWS = {
    "lrcn": ("LRCN from scratch", by_lrcn),
    **{name: (f"frozen, {name}", by_head(name, LARGE)) for name in HEADS},
    "tuned": ("top fine-tuned, 8 x 96 x 128", by_tuning),
    "flow": ("RGB with flow, 8 x 224", by_flow),
    "small": ("the same without flow", by_rgb),
    "auto": ("auto", by_auto),
}


def splits(clips):
    """Return the folds by name, and the groups that a choice inside the training clips keeps together."""
    grouped = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    random = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    return {
        "grouped": (list(grouped.split(clips.labels, clips.labels, clips.groups)), clips.groups),
        "random": (list(random.split(clips.labels, clips.labels)), None),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=Path, default=DATA)
    parser.add_argument("--weights", default=WEIGHTS, help="a file, or imagenet")
    parser.add_argument("--cache", type=Path, default=ROOT / "data" / "features_of_fights")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--verbose", action="store_true", help="say what auto chose in each fold")
    options = parser.parse_args()
    clips = Clips(options.data_dir, options.weights, options.cache)
    print(f"{'model':<30} {'split':<8} {'accuracy':>8}  {'95 % interval':<16} {'of the folds':<32} seconds")
    for title, row in (ROWS[name] for name in options.rows):
        for split, (folds, groups) in splits(clips).items():
            hits, start = [], time.perf_counter()
            for train, test in folds:
                keras.utils.clear_session()
                said, chosen = row(clips, train, test, groups)
                hits.append(said.argmax(axis=1) == clips.labels[test])
                if options.verbose and chosen:
                    print(f"    {split}: {chosen}", flush=True)
            right = np.concatenate(hits)
            low, high = wilson_interval(int(right.sum()), len(right))
            each = " ".join(f"{part.mean():.3f}" for part in hits)
            seconds = time.perf_counter() - start
            line = f"{title:<30} {split:<8} {right.mean():8.3f}  {low:.3f} to {high:.3f}   {each:<32}"
            print(f"{line} {seconds:.0f}", flush=True)


if __name__ == "__main__":
    main()
