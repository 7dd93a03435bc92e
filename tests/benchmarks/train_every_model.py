"""Train every video model on the rendered clips, small enough for two cores, and score it on unseen groups.

    python tests/benchmarks/train_every_model.py [model ...] [--groups 40] [--seed 1] [--output DIR]

The clips are the five actions of `create_sample_dataset`; whole groups (people and places) are kept for the
test. Two columns tell what a model can do: "accuracy" over all five actions (chance 0.20), and "sit or
stand", in which a test clip of SittingDown or StandingUp counts as right if the right one of these two is the
more probable. They are one motion in two directions, so what has no sense of time stays near 0.50 there.

Batch norm is given a short memory (`set_batch_norm_momentum`): some hundred steps are too few for 0.999. With
`--output`, the rows are also kept as CSV, and a model that has one is not trained again.
"""

import argparse
import csv
import math
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from harkeras import create_dataset, create_sample_dataset, evaluate, train  # noqa: E402
from harkeras.models import create_model, list_models, set_batch_norm_momentum  # noqa: E402
from harkeras.models.registry import count_parameters  # noqa: E402
from harkeras.recipe import read_channels  # noqa: E402


def warmed_cosine(epoch, peak=1e-3, epochs=45, warmup=3):
    """Return a learning rate that rises evenly for some epochs, then falls along half a cosine."""
    if epoch < warmup:
        return peak * (epoch + 1) / (warmup + 1)
    return peak * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup))) / 2


# Clip, options of the builder, epochs, learning rate. Chosen by hand with seed 27, for time more than for
# accuracy; the best epoch is chosen by validation groups inside the training clips.
SETTINGS = {
    "single_frame": ((8, 64, 64, 3), {"width_multiplier": 0.25}, 20, 3e-4),
    "late_fusion": ((16, 64, 64, 3), {"width_multiplier": 0.25, "distance": 11}, 25, 5e-4),
    "early_fusion": ((10, 64, 64, 3), {"width_multiplier": 0.25}, 30, 5e-4),
    "slow_fusion": ((18, 64, 64, 3), {"width_multiplier": 0.25}, 30, 5e-4),
    "multiresolution": ((10, 64, 64, 3), {"width_multiplier": 0.25, "fusion": "slow"}, 30, 5e-4),
    "convlstm": ((12, 64, 64, 3), {}, 20, 3e-3),
    "lrcn": ((20, 64, 64, 3), {}, 40, 1e-3),
    "c3d": ((16, 64, 64, 3), {"width_multiplier": 0.125}, 25, 3e-4),
    "resnet3d": ((12, 64, 64, 3), {"depth": 18, "filters": 8}, 20, 2e-3),
    "resnext3d": ((12, 64, 64, 3), {"depth": 50, "filters": 16, "groups": 4}, 20, 2e-3),
    "r2plus1d": ((12, 64, 64, 3), {"filters": 8}, 20, 2e-3),
    "r3d": ((12, 64, 64, 3), {"filters": 8}, 20, 2e-3),
    "i3d": ((16, 64, 64, 3), {"width_multiplier": 0.25}, 20, 2e-3),
    "two_stream": ((8, 64, 64, 13), {"width_multiplier": 0.125}, 20, 5e-4),
    "two_stream_i3d": ((16, 64, 64, 5), {"width_multiplier": 0.125}, 20, 2e-3),
    "cnn_lstm": ((12, 64, 64, 3), {"backbone": "mobilenet_v2_0.35", "units": 64}, 25, 1e-3),
    "movinet": ((12, 64, 64, 3), {}, 20, 2e-3),
    "video_transformer": ((12, 64, 64, 3), {}, 45, warmed_cosine),
}
FIELDS = (
    "model", "clip", "parameters", "accuracy", "low", "high", "sit or stand", "epochs", "seconds",
    "ms per clip",
)  # fmt: skip


def score(name, clips, seed, cache):
    shape, options, epochs, learning_rate = SETTINGS[name]
    streams, fields = read_channels(shape[-1])
    cache = cache / f"{'x'.join(map(str, shape))}.npy"
    dataset = create_dataset(
        clips,
        frames=shape[0],
        height=shape[1],
        width=shape[2],
        streams=streams,
        flow_fields=fields,
        cache=cache,
    )
    dataset.features = np.asarray(dataset.features)
    train_set, test_set = dataset.split(seed=seed)
    keras.utils.set_random_seed(seed)
    model = set_batch_norm_momentum(create_model(name, len(dataset.classes), shape, **options), 0.9)
    rate = learning_rate if callable(learning_rate) else lambda epoch: learning_rate
    budget = {"epochs": epochs, "patience": epochs, "batch_size": 8}
    budget["callbacks"] = [keras.callbacks.LearningRateScheduler(rate)]
    start = time.perf_counter()
    history = train(model, train_set, seed=seed, **budget)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    test = evaluate(model, test_set)
    milliseconds = 1000 * (time.perf_counter() - start) / len(test_set)
    pair = [dataset.classes.index("SittingDown"), dataset.classes.index("StandingUp")]
    of_pair = np.isin(test.labels, pair)
    named = np.array(pair)[test.probabilities[of_pair][:, pair].argmax(axis=1)]
    sit_or_stand = (named == test.labels[of_pair]).mean()
    row = (
        name, " x ".join(map(str, shape)), count_parameters(model), round(test.accuracy, 3),
        *np.round(test.interval, 3), round(float(sit_or_stand), 3), len(history.history["loss"]),
        round(seconds), round(milliseconds, 1),
    )  # fmt: skip
    return dict(zip(FIELDS, map(str, row), strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(SETTINGS))
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    unknown = set(arguments.models) - set(SETTINGS)
    if unknown:
        parser.error(f"no settings for {', '.join(sorted(unknown))}")
    left_out = set(list_models()) - set(SETTINGS)
    print(f"not here: {', '.join(sorted(left_out)) or 'none'} (pose_lstm.py has keypoints)", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        output = arguments.output or Path(folder)
        clips = create_sample_dataset(output / "clips", groups=arguments.groups, seed=arguments.seed)
        table, rows = output / "models.csv", {}
        if table.exists():
            rows = {row["model"]: row for row in csv.DictReader(table.open())}
        for name in arguments.models:
            if name in rows:
                continue
            rows[name] = score(name, clips, arguments.seed, output)
            with table.open("w", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                writer.writeheader()
                writer.writerows(rows.values())
            print(rows[name], file=sys.stderr)
        print_table([rows[name] for name in arguments.models])


def print_table(rows):
    print(
        f"{'model':<18} {'clip':<18} {'parameters':>11} {'accuracy':>9} {'95 %':>14} {'sit or stand':>13} "
        f"{'epochs':>7} {'train':>7} {'per clip':>9}"
    )
    for row in rows:
        interval = f"{float(row['low']):.2f} to {float(row['high']):.2f}"
        print(
            f"{row['model']:<18} {row['clip']:<18} {int(row['parameters']):>11,} "
            f"{float(row['accuracy']):>9.2f} {interval:>14} {float(row['sit or stand']):>13.2f} "
            f"{row['epochs']:>7} {row['seconds']:>5} s {row['ms per clip']:>6} ms"
        )


if __name__ == "__main__":
    main()
