"""Few falls, many walks: what class weights, balanced sampling and focal loss do for the rare class.

    python tests/benchmarks/unbalanced.py [--groups 48] [--epochs 12] [--seeds 27 28 29] [--output DIR]

Rendered clips of five actions; of the training falls only so many are kept that one clip in 15 is a fall. The
test groups keep all their falls, so that recall is measured on more than a handful; precision is that on this
test, and would be lower where falls are as rare as in training. Each line is the mean over the seeds, which
draw split, kept falls and weights. LRCN, with everything else alike. Rendered falls are easy: with 30 epochs
plain cross entropy finds most of them as well, so the budget is small.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from harkeras.data.loading import create_dataset  # noqa: E402
from harkeras.data.samples import create_sample_dataset  # noqa: E402
from harkeras.data.splits import split_rows_by_group  # noqa: E402
from harkeras.evaluation.scores import evaluate  # noqa: E402
from harkeras.models import create_lrcn_model  # noqa: E402
from harkeras.training.loop import train  # noqa: E402

FOCAL = keras.losses.CategoricalFocalCrossentropy()
WAYS = {  # how training clips are shown, and the loss
    "cross entropy": ({}, None),
    "weighted cross entropy": ({"class_weight": "balanced"}, None),
    "balanced sampling": ({"sampling": "balanced"}, None),
    "focal loss": ({}, FOCAL),
    "focal loss, weighted": ({"class_weight": "balanced"}, FOCAL),
}
ONE_IN = 15
FRAMES = 10


def make_rare(rows, labels, rare, rng):
    """Drop clips of the class `rare` until it has one in 15."""
    of_rare = rows[labels[rows] == rare]
    others = rows[labels[rows] != rare]
    kept = rng.permutation(of_rare)[: max(round(len(others) / (ONE_IN - 1)), 2)]
    return np.sort(np.concatenate([others, kept]))


def train_every_way(dataset, arguments):
    """Return the scores of each way, one for each seed."""
    labels, rare = dataset.labels, dataset.classes.index("Falling")
    scores = {way: [] for way in WAYS}
    for seed in arguments.seeds:
        rows, test = split_rows_by_group(labels, dataset.groups, test_size=0.4, seed=seed)
        rows = make_rare(rows, labels, rare, np.random.default_rng(seed))
        falls = int((labels[rows] == rare).sum())
        print(f"seed {seed}: {falls} falls among {len(rows)} training clips", file=sys.stderr)
        for way, (shown, loss) in WAYS.items():
            keras.utils.set_random_seed(seed)
            model = create_lrcn_model(len(dataset.classes), dataset.features.shape[1:])
            train(
                model, dataset[rows].for_training(**shown), seed=seed, loss=loss,
                epochs=arguments.epochs, patience=arguments.epochs, batch_size=8, verbose=False,
            )  # fmt: skip
            scores[way].append(evaluate(model, dataset[test]))
            print(f"  {way}: recall {scores[way][-1].recall[rare]:.2f}", file=sys.stderr)
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--groups", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[27, 28, 29])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output = arguments.output or Path(folder)
        clips = create_sample_dataset(output / "clips", groups=arguments.groups)
        dataset = create_dataset(clips, frames=FRAMES, cache=output / "frames.npy")
        dataset.features = np.array(dataset.features)
        scores, rare = train_every_way(dataset, arguments), dataset.classes.index("Falling")
    print(f"{'':<24} {'recall of falls':>16} {'precision':>10} {'F1':>6} {'accuracy':>9} {'macro F1':>9}")
    for way, each in scores.items():
        every = [(e.recall[rare], e.precision[rare], e.f1[rare], e.accuracy, e.macro_f1) for e in each]
        mean = np.mean(every, axis=0)
        print(f"{way:<24} {mean[0]:>16.2f} {mean[1]:>10.2f} {mean[2]:>6.2f} {mean[3]:>9.2f} {mean[4]:>9.2f}")


if __name__ == "__main__":
    main()
