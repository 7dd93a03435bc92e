"""How much of an epoch waits for data, when clips are decoded on the way instead of lying in memory?

    python tests/benchmarks/clip_dataset.py [data_dir] [--epochs 3]

For each model one epoch over all clips: with the clips in memory; from files, decoded by `ClipDataset` while
the model learns; and decoding alone. On few cores the two compete, so that an epoch from files takes about as
long as both together, and the cores are busy all the time. "waits" is the share of an epoch from files in
which the model had nothing to learn from, "cores busy" the processor time over the time of all cores. Without
a folder, the clips are rendered ones. The median of the epochs counts, after one that is not timed.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from harkeras import ClipDataset, create_dataset, create_model, create_sample_dataset
from harkeras.data.batches import Batches

SEED, BATCH_SIZE = 27, 8
MODELS = (
    ("lrcn", (20, 64, 64, 3), {}),
    ("convlstm", (20, 64, 64, 3), {}),
    ("c3d", (16, 112, 112, 3), {"width_multiplier": 0.125}),
)
HEAD = """\
                        in memory from files  decoding   ratio   waits   cores clips per
model    clip                                                             busy    second"""
ROW = "{:<8} {:<14} {:8.1f} s {:8.1f} s {:7.1f} s {:7.2f} {:7.0%} {:7.0%} {:9.0f}"


def epoch(batches, model=None):
    """Go through the batches once; return the seconds, those spent waiting, and those of the processor.

    The batches are made one or more ahead, by another thread, as `fit` does it.
    """
    clips = batches if batches.features is None else batches.features
    signature = [tf.TensorSpec((None, *clips.shape[1:]), tf.uint8), tf.TensorSpec((None,), tf.int64)]
    data = tf.data.Dataset.from_generator(
        lambda: (batches[index] for index in range(len(batches))), output_signature=tuple(signature)
    ).prefetch(tf.data.AUTOTUNE)
    begin, processor, waited = time.perf_counter(), time.process_time(), 0.0
    each = iter(data)
    while True:
        start = time.perf_counter()
        batch = next(each, None)
        waited += time.perf_counter() - start
        if batch is None:
            break
        if model is not None:
            model.train_on_batch(*batch)
    batches.on_epoch_end()
    return time.perf_counter() - begin, waited, time.process_time() - processor


def median_epoch(batches, model, epochs):
    return np.median([epoch(batches, model) for _ in range(epochs + 1)][1:], axis=0)


def measure(data_dir, name, shape, options, epochs):
    keras.utils.set_random_seed(SEED)
    size = dict(zip(("frames", "height", "width"), shape, strict=False))
    features, labels, paths = dataset = create_dataset(data_dir, **size)
    model = create_model(name, len(dataset.classes), shape, **options)
    model.compile("adam", "sparse_categorical_crossentropy")
    memory = Batches(features, labels, np.arange(len(labels)), BATCH_SIZE, seed=SEED)
    files = ClipDataset(paths, labels, **size, batch_size=BATCH_SIZE, seed=SEED)
    (fast, *_), (slow, waited, processor) = (median_epoch(each, model, epochs) for each in (memory, files))
    alone = median_epoch(files, None, epochs)[0]
    busy = processor / (slow * os.cpu_count())
    cells = (fast, slow, alone, slow / fast, waited / slow, busy, len(labels) / slow)
    print(ROW.format(name, " x ".join(map(str, shape[:3])), *cells), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data_dir = arguments.data_dir or create_sample_dataset(folder, groups=24)
        print(HEAD)
        for name, shape, options in MODELS:
            measure(data_dir, name, shape, options, arguments.epochs)


if __name__ == "__main__":
    main()
