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

from harkeras import create_dataset, create_lrcn_model, create_sample_dataset, evaluate, train  # noqa: E402

FOCAL = keras.losses.CategoricalFocalCrossentropy(alpha=1.0)
# How the clips are shown, and the loss.
WAYS = {
    "cross entropy": ({}, None),
    "weighted cross entropy": ({"class_weight": "balanced"}, None),
    "balanced sampling": ({"sampling": "balanced"}, None),
    "focal loss": ({}, FOCAL),
    "focal loss, weighted": ({"class_weight": "balanced"}, FOCAL),
}
ONE_IN = 15
FRAMES = 10


def make_rare(dataset, rare, seed):
    """Drop clips of the class `rare` until it has one in 15."""
    of_rare, others = (np.flatnonzero((dataset.labels == rare) == wanted) for wanted in (True, False))
    kept = np.random.default_rng(seed).permutation(of_rare)[: max(round(len(others) / (ONE_IN - 1)), 2)]
    return dataset[np.sort(np.concatenate([others, kept]))]


def compare(dataset, seeds, epochs):
    """Return the scores of every way, one for each seed, and the label of the rare class."""
    rare, scores = dataset.classes.index("Falling"), {way: [] for way in WAYS}
    for seed in seeds:
        train_set, test_set = dataset.split(test_size=0.4, seed=seed)
        train_set = make_rare(train_set, rare, seed)
        falls = int((train_set.labels == rare).sum())
        print(f"seed {seed}: {falls} falls among {len(train_set)} training clips", file=sys.stderr)
        for way, (shown, loss) in WAYS.items():
            keras.utils.set_random_seed(seed)
            model = create_lrcn_model(len(dataset.classes), dataset.features.shape[1:])
            budget = {"epochs": epochs, "patience": epochs, "batch_size": 8}
            train(model, train_set.for_training(**shown), loss=loss, seed=seed, verbose=False, **budget)
            scores[way].append(evaluate(model, test_set))
            print(f"  {way}: recall {scores[way][-1].recall[rare]:.2f}", file=sys.stderr)
    return scores, rare


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
        scores, rare = compare(dataset, arguments.seeds, arguments.epochs)
    print(f"{'':<24} {'recall of falls':>16} {'precision':>10} {'F1':>6} {'accuracy':>9} {'macro F1':>9}")
    for way, each in scores.items():
        every = [(e.recall[rare], e.precision[rare], e.f1[rare], e.accuracy, e.macro_f1) for e in each]
        mean = np.mean(every, axis=0)
        print(f"{way:<24} {mean[0]:>16.2f} {mean[1]:>10.2f} {mean[2]:>6.2f} {mean[3]:>9.2f} {mean[4]:>9.2f}")


if __name__ == "__main__":
    main()
