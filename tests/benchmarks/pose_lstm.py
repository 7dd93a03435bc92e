"""Accuracy of `pose_lstm` on real joints: the 14 actions of JHMDB, on its three official splits.

    python tests/benchmarks/pose_lstm.py [jhmdb_skeletons.npz] [--form lstm] [--validate]

Each split is trained from scratch with the settings below, the same for both forms and all splits, for a
fixed number of epochs; the weights after the last epoch are tested once. A training clip is shown with a
random part of its time, mirrored or not, turned a little, and made wider or taller; a test clip is shown
whole, once.

No setting was chosen on test clips, and none was changed after a test. They were set after DD-Net, and kept
after eight comparisons (features with and without distances, wider layers, more dropout, a larger LSTM) by
cross-validation inside the training clips of split 1. Since some of those clips test splits 2 and 3,
`--validate` repeats the check without them: cross-validation inside the 240 clips that all three splits train
on. Look-alikes of one class stay in one fold there, because the file does not say which clips were cut from
one video.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from harkeras.models import create_pose_lstm_model

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "jhmdb_skeletons.npz"
FRAMES, EPOCHS, BATCH_SIZE, SEED, FOLDS = 32, 60, 32, 27, 4
LEARNING_RATE, WEIGHT_DECAY, LABEL_SMOOTHING = 2e-3, 1e-2, 0.1
# Neck, belly, face; then right and left shoulder, hip, elbow, knee, wrist, ankle.
MIRRORED = [0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13]


def read_skeletons(path):
    """Return a list of clips (T, 15, 2), their classes as numbers, and the splits as pairs of indices."""
    with np.load(path) as data:
        clips = np.split(data["joints"], np.cumsum(data["lengths"])[:-1])
        labels = np.unique(data["labels"], return_inverse=True)[1]
        splits = [(data[f"split{i}_train"], data[f"split{i}_test"]) for i in (1, 2, 3)]
    return clips, labels, splits


def resample(clip, start=0.0, stop=1.0):
    """Interpolate FRAMES frames spread evenly from `start` to `stop`, in shares of the clip."""
    position = np.linspace(start, stop, FRAMES) * (len(clip) - 1)
    before = np.minimum(position.astype(int), len(clip) - 2)
    share = (position - before)[:, None, None]
    return clip[before] * (1 - share) + clip[before + 1] * share


def vary(clip, rng):
    """Return what the clip might have been, had the camera or the cut been a little different."""
    length = rng.uniform(0.7, 1)
    start = rng.uniform(0, 1 - length)
    clip = resample(clip, start, start + length)
    if rng.random() < 0.5:
        clip = clip[:, MIRRORED] * (-1, 1)
    angle = rng.uniform(-0.2, 0.2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return clip @ (turn * np.exp(rng.uniform(-0.15, 0.15, 2))).T


class VariedClips(keras.utils.PyDataset):
    """Batches of clips, in another order and varied anew in each epoch."""

    def __init__(self, clips, labels, seed):
        super().__init__()
        self.clips, self.labels, self.rng = clips, labels, np.random.default_rng(seed)
        self.on_epoch_end()

    def on_epoch_end(self):
        order = self.rng.permutation(len(self.labels))
        self.keypoints = np.float32([vary(self.clips[i], self.rng) for i in order])
        self.targets = keras.utils.to_categorical(self.labels[order], max(self.labels) + 1)

    def __len__(self):
        return len(self.labels) // BATCH_SIZE

    def __getitem__(self, index):
        batch = slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)
        return self.keypoints[batch], self.targets[batch]


def train(form, clips, labels):
    keras.utils.clear_session()
    keras.utils.set_random_seed(SEED)
    model = create_pose_lstm_model(int(max(labels)) + 1, (FRAMES, *clips[0].shape[1:]), form=form)
    batches = VariedClips(clips, labels, SEED)
    steps = EPOCHS * len(batches)
    rate = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 20, steps - steps // 20, warmup_target=LEARNING_RATE, warmup_steps=steps // 20
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY),
        keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING),
    )
    model.fit(batches, epochs=EPOCHS, verbose=0)
    return model


def score(form, clips, labels, splits):
    """Train on the first clips of each split and return the accuracies on the second, and the last model."""
    accuracies = []
    for training, testing in splits:
        model = train(form, [clips[i] for i in training], labels[training])
        answers = model.predict(np.float32([resample(clips[i]) for i in testing]), verbose=0).argmax(axis=1)
        accuracies.append(np.mean(answers == labels[testing]))
    return accuracies, model


def folds_of_lookalikes(clips, labels, indices):
    """Return pairs of indices; clips of a class in nearly the same average pose are never on both sides."""
    fold = np.zeros(len(indices), int)
    for label in np.unique(labels[indices]):
        members = np.flatnonzero(labels[indices] == label)
        poses = [clips[i] - clips[i].mean((0, 1)) for i in indices[members]]
        poses = np.array([(pose / pose.std()).mean(0).ravel() for pose in poses])
        # Along the direction in which poses differ most, neighbours look alike.
        direction = np.linalg.svd(poses - poses.mean(0), full_matrices=False)[2][0]
        rank = np.argsort(np.argsort(poses @ direction))
        fold[members] = rank * FOLDS // len(members)
    return [(indices[fold != i], indices[fold == i]) for i in range(FOLDS)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=DATA)
    parser.add_argument("--form", choices=("lstm", "conv"), help="one form; both by default")
    parser.add_argument("--validate", action="store_true", help="cross-validate, and test nothing")
    options = parser.parse_args()
    clips, labels, splits = read_skeletons(options.path)
    if options.validate:
        common = set(range(len(clips))).difference(*(testing for _, testing in splits))
        splits = folds_of_lookalikes(clips, labels, np.array(sorted(common)))
    columns = [f"{'fold' if options.validate else 'split'} {i}" for i in range(1, len(splits) + 1)]
    print("".join(f"{name:>12}" for name in ("form", *columns, "mean", "seconds", "parameters")), flush=True)
    for form in (options.form,) if options.form else ("lstm", "conv"):
        start = time.perf_counter()
        accuracies, model = score(form, clips, labels, splits)
        numbers = "".join(f"{accuracy:>12.3f}" for accuracy in (*accuracies, np.mean(accuracies)))
        seconds = time.perf_counter() - start
        print(f"{form:>12}{numbers}{seconds:>12.0f}{model.count_params():>12,}", flush=True)


if __name__ == "__main__":
    main()
