"""Fights: whole frames against squares around the people in them, 300 real clips, tested by source video.

    python tests/benchmarks/people_crops.py [data_dir] [--cache DIR]

People are found by YOLOX-nano in every third frame and followed. Three views of the same 16 moments of a clip
go through EfficientNet-Lite0: the whole frame (224 x 384), one square (320 x 320) around all people of the
clip, and a square (224 x 224) that goes along with the largest of them. A head of statistics learns from the
features of each, or of two side by side; its strength is chosen inside the training clips of each fold, and
in the last row so is the view. 5 folds by source (seed 27); the interval is by sources.

The file of YOLOX-nano is looked for in HARKERAS_ASSETS. Clips in which nobody is found are seen whole.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from scipy.special import softmax
from tqdm import tqdm

from harkeras.base.files import content_digest
from harkeras.data.folders import read_folder
from harkeras.data.intervals import clustered_interval
from harkeras.data.splits import list_folds
from harkeras.people import crop_person, track_people
from harkeras.people.main_person import follow_largest
from harkeras.transfer import create_head, frame_encoder
from harkeras.transfer.heads import fit_regressions, statistics_of
from harkeras.video.images import resize_image

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "surveillance_fights"
BACKBONE, FRAMES, SEED, FOLDS = "efficientnet_lite0", 16, 27, 5
SIZES = {"frame": (224, 384), "people": (320, 320), "person": (224, 224)}
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
VIEWS = [("frame",), ("people",), ("person",), ("frame", "people"), ("frame", "person"), ("people", "person")]


def read_views(video):
    """Return the three views, uint8 (16, H, W, 3) each, and whether somebody was found in it."""
    frames, people = zip(*track_people(video), strict=True)
    rows = ((np.arange(FRAMES) + 0.5) * len(frames) / FRAMES).astype(int)
    height, width = frames[0].image.shape[:2]
    everybody = np.array([person.box_px for each in people for person in each])
    whole = (0.0, 0.0, float(width), float(height))
    union = whole
    if len(everybody):
        union = (*everybody[:, :2].min(axis=0).tolist(), *everybody[:, 2:].max(axis=0).tolist())
        union = tuple(np.clip(union, 0, [width, height, width, height]).tolist())
    largest = follow_largest(list(people), [frame.seconds for frame in frames])
    boxes = {"frame": None, "people": [union] * len(frames), "person": largest or [whole] * len(frames)}
    views = {}
    for name, size in SIZES.items():
        margin = 0.0 if name == "people" else 0.2
        views[name] = np.stack(
            [
                resize_image(frames[row].image, *size)
                if boxes[name] is None
                else crop_person(frames[row].image, boxes[name][row], *size, margin=margin)
                for row in rows
            ]
        )
    return views, len(everybody) > 0


def read_features(paths, cache):
    """Return float32 (N, 16, F) of each view, and how many clips have somebody in them."""
    encoders = {name: frame_encoder(BACKBONE, (*size, 3)) for name, size in SIZES.items()}
    rows, found = [], 0
    cache.mkdir(parents=True, exist_ok=True)
    for path in tqdm(paths, "Reading", unit="clip"):
        file = cache / f"{content_digest(path)}.npz"
        if not file.exists():
            views, somebody = read_views(path)
            features = {
                name: np.asarray(encoders[name](clip.astype(np.float32), training=False))
                for name, clip in views.items()
            }
            np.savez(file, found=somebody, **features)
        with np.load(file) as kept:
            rows.append({name: kept[name] for name in SIZES})
            found += bool(kept["found"])
    return {name: np.stack([row[name] for row in rows]) for name in SIZES}, found


def fit_and_score(numbers, labels, train, test):
    """Return probabilities of the test clips for each strength: (S, M, classes)."""
    fitted = fit_regressions(numbers[train], labels[train], 2, STRENGTHS)
    return np.stack([softmax(numbers[test] @ kernel + bias, axis=1) for kernel, bias in fitted])


def inner_accuracy(numbers, labels, groups, train):
    """Return the accuracy of each strength by cross-validation inside the training clips."""
    right = np.zeros((len(STRENGTHS), len(train)))
    for fit, held in list_folds(labels[train], groups[train], split="group", folds=FOLDS, seed=SEED):
        said = fit_and_score(numbers, labels, train[fit], train[held])
        right[:, held] = said.argmax(axis=2) == labels[train[held]]
    return right.mean(axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=Path, default=DATA)
    parser.add_argument("--cache", type=Path, default=ROOT / "data" / "features_of_people")
    options = parser.parse_args()
    folder = read_folder(options.data_dir)
    labels, groups = folder.labels, folder.sources.groups
    features, found = read_features(folder.video_paths, options.cache)
    print(f"somebody was found in {found} of {len(labels)} clips")
    statistics = {
        name: statistics_of(create_head("mean_std_diff", 2, values.shape[1:]), values)
        for name, values in features.items()
    }
    numbers = {views: np.concatenate([statistics[view] for view in views], axis=1) for views in VIEWS}
    right = {views: np.zeros(len(labels), bool) for views in [*VIEWS, ("chosen",)]}
    choices = []
    for train, test in list_folds(labels, groups, split="group", folds=FOLDS, seed=SEED):
        inner = {views: inner_accuracy(each, labels, groups, train) for views, each in numbers.items()}
        for views, each in numbers.items():
            said = fit_and_score(each, labels, train, test)[inner[views].argmax()]
            right[views][test] = said.argmax(axis=1) == labels[test]
        best = max(VIEWS, key=lambda views: inner[views].max())
        choices.append(" + ".join(best))
        right["chosen",][test] = right[best][test]
    for views, hits in right.items():
        low, high = clustered_interval(hits, groups)
        print(f"{' + '.join(views):<16} {hits.mean():.3f}  {low:.3f} to {high:.3f}")
    print(f"chosen in the folds: {', '.join(choices)}")


if __name__ == "__main__":
    main()
