"""Time online augmentation in clips per second, and see what it does for the accuracy on unseen groups.

    python tests/benchmarks/augment.py [--train] [--model lrcn] [--groups 2] [--epochs 150] [--seeds 27 28 29]

The table has every filter and mode in the data pipeline, in one thread, beside what Keras's own layers do
with time folded into the channels, where there is such a layer. With `--train` instead, a model is trained on
a few groups of the rendered clips (`create_sample_dataset`), once as they are and once with
`default_augmentation`, with everything else the same, and scored on 12 groups that neither has seen: people,
places and cameras of their own. Every seed renders other clips, draws other weights and another order.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from harkeras import create_dataset, create_model, create_sample_dataset, evaluate, train  # noqa: E402
from harkeras.data import augment  # noqa: E402

SHAPES = ((20, 64, 64, 3), (16, 112, 112, 3), (16, 112, 112, 13))
SEVEN = (
    augment.Add, augment.Multiply, augment.Salt, augment.Pepper, augment.GaussianBlur,
    augment.ElasticDeformation, augment.HorizontalFlip,
)  # fmt: skip
REST = (augment.RandomResizedCrop, augment.Pan, augment.TemporalJitter, augment.TimeCrop)
# Height and width -> a layer of Keras for images (B, H, W, T * C).
KERAS_LAYERS = {
    "Add": lambda size: keras.layers.RandomBrightness(0.1),
    "GaussianBlur": lambda size: keras.layers.RandomGaussianBlur(1.0, 7, 1.0),
    "ElasticDeformation": lambda size: keras.layers.RandomElasticTransform(),
    "HorizontalFlip": lambda size: keras.layers.RandomFlip("horizontal"),
    "RandomResizedCrop": lambda size: keras.layers.RandomZoom((-0.3, 0.0)),
}
TRAINING_CLIP = (8, 64, 64, 3)
TEST_GROUPS = 12


def clips_per_second(function, batch, repeats=5):
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return batch / min(times)


def keras_clips_per_second(name, clips):
    if name not in KERAS_LAYERS:
        return None
    count, frames, height, width, channels = clips.shape
    layer = KERAS_LAYERS[name]((height, width))
    folded = clips.transpose(0, 2, 3, 1, 4).reshape(count, height, width, frames * channels)
    folded = tf.constant(folded, tf.float32)
    function = tf.function(lambda images: layer(images, training=True))
    return clips_per_second(lambda: function(folded), count)


def time_filters(batch):
    filters = {each.__name__: each() for each in (*SEVEN, *REST)}
    for mode in ("one", "some", "all"):
        filters[f"the seven, mode {mode!r}"] = augment.Augmentation([each() for each in SEVEN], mode)
    filters["default_augmentation()"] = augment.default_augmentation()
    print(f"Clips per second, one thread, batches of {batch}; in brackets, the layer of Keras nearest to it")
    print(f"{'':<24}" + "".join(f"{' x '.join(map(str, shape)):>24}" for shape in SHAPES))
    batches = [np.random.default_rng(0).integers(0, 256, (batch, *s), dtype=np.uint8) for s in SHAPES]
    for name, each in filters.items():
        cells = []
        for clips in batches:
            ours = clips_per_second(lambda each=each, clips=clips: each(clips, 27), batch)
            other = keras_clips_per_second(name, clips) if clips.shape[-1] == 3 else None
            cells.append(f"{ours:,.0f}" + (f" ({other:,.0f})" if other else ""))
        print(f"{name:<24}" + "".join(f"{cell:>24}" for cell in cells))


def read(folder, training_groups):
    """Return the clips to train on and those to test on."""
    frames, height, width, _ = TRAINING_CLIP
    dataset = create_dataset(folder, frames=frames, height=height, width=width)
    first = np.isin(dataset.groups, np.unique(dataset.groups)[:training_groups])
    return dataset[first], dataset[~first]


def score(train_set, test_set, name, seed, epochs, augmentation):
    keras.utils.set_random_seed(seed)
    model = create_model(name, len(train_set.classes), TRAINING_CLIP)
    start = time.perf_counter()
    budget = {"epochs": epochs, "patience": epochs, "batch_size": 8, "validation_split": 0}
    train(model, train_set.for_training(augment=augmentation), seed=seed, verbose=False, **budget)
    seconds = time.perf_counter() - start
    test = evaluate(model, test_set)
    return evaluate(model, train_set).accuracy, test.accuracy, test.loss, seconds


def compare(name, seeds, training_groups, epochs):
    shape = " x ".join(map(str, TRAINING_CLIP))
    print(f"\n{name}, clips of {shape}, {training_groups * 10} of {training_groups} groups to train on,")
    print(
        f"{TEST_GROUPS * 10} of {TEST_GROUPS} others to test, {epochs} epochs; accuracies, and the test loss"
    )
    print(
        f"{'seed':<6} {'augmentation':<13} {'seen clips':>11} {'unseen groups':>14} {'loss':>6} {'train':>7}"
    )
    results = {"none": [], "default": []}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            create_sample_dataset(folder, groups=training_groups + TEST_GROUPS, seed=seed)
            parts = read(folder, training_groups)
            for kind, rows in results.items():
                chosen = augment.default_augmentation() if kind == "default" else None
                rows.append(score(*parts, name, seed, epochs, chosen))
                print_row(seed, kind, rows[-1])
    for kind, rows in results.items():
        print_row("mean", kind, np.mean(rows, axis=0))


def print_row(seed, kind, row):
    seen, unseen, loss, seconds = row
    print(f"{seed:<6} {kind:<13} {seen:>11.3f} {unseen:>14.3f} {loss:>6.2f} {seconds:>5.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--train", action="store_true", help="compare training with and without")
    parser.add_argument("--model", default="lrcn")
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[27, 28, 29])
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if arguments.train:
        compare(arguments.model, arguments.seeds, arguments.groups, arguments.epochs)
    else:
        time_filters(arguments.batch)


if __name__ == "__main__":
    main()
