"""What a class for "nothing" is good for: falls on a person never seen, with `cut --rest` and without.

    python tests/benchmarks/falls_rest.py [data_dir] [--backbone NAME] [--cache DIR]

In GMDCSA-24 somebody has labeled all that happens. Most people label what they look for. Here a model learns

- from everything: falls against all labeled daily life, as in falls.py;
- from labels of falls and walking alone, as if nothing else had been labeled;
- from the same labels, and from the rest of these videos as a class of its own, as `--rest Nothing` cuts it.

Windows, backbone and the people left out are those of falls.py; there, too, alarms of falls are explained.
Each model runs over the whole videos of the person left out, daily life included, as `harkeras evaluate
--recordings` does it: with no tuned threshold, and an alarm as soon as "Falling" is shown.
"""

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import falls
import numpy as np
from tqdm import tqdm

from harkeras.data.annotations import Annotation, read_annotations
from harkeras.data.cutting import cut_clips
from harkeras.data.folders import ClipFolder
from harkeras.data.rest import list_rest
from harkeras.data.sources import given_sources
from harkeras.evaluation.recording_scores import RecordingsEvaluation, add_scores
from harkeras.evaluation.recordings import evaluate_recordings
from harkeras.transfer.auto import train_auto
from harkeras.transfer.feature_dataset import create_feature_dataset

LABELED, REST = ("Falling", "Walking"), "Nothing"
SCHEMES = {
    "all that happens": falls.CLASSES,
    "falls and walking": LABELED,
    "falls and walking, and the rest": (*LABELED, REST),
}


def list_windows(video, annotations):
    """Return the windows of a video for all schemes: those of falls.py, and those of walking."""
    windows = falls.list_windows(video)
    for each in annotations:
        if each.video == video.path and each.label == "Walking":
            end = min(each.end_seconds, video.seconds)
            starts = np.arange(each.start_seconds, end - falls.WINDOW_SECONDS + 1e-6, falls.STEP_SECONDS)
            for start in np.round(starts, 3).tolist():
                times = start, round(start + falls.WINDOW_SECONDS, 3)
                windows.append(Annotation(video.path, *times, "Walking", video.person))
    return windows


def leave_out(person, dataset, annotations):
    """Train without a person, and score the recordings of that person."""
    model = train_auto(dataset[dataset.groups != person], seed=falls.SEED).model
    model.recipe = replace(model.recipe, clip_seconds=falls.WINDOW_SECONDS)
    of_person = [each for each in annotations if each.person == person]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*recordings? were left out")
        return evaluate_recordings(model, of_person, actions=["Falling"], on_seconds=0, off_seconds=0)


def add(results):
    """Return the scores of all people together."""
    score = add_scores(result.scores["Falling"] for result in results)
    return RecordingsEvaluation(
        {"Falling": score},
        sum(result.recordings for result in results),
        sum(result.seconds for result in results),
        sum(result.switches for result in results),
        (),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=Path, default=falls.DATA)
    parser.add_argument("--backbone", default=falls.BACKBONE, help="one of list_backbones()")
    parser.add_argument("--cache", type=Path, default=falls.ROOT / "data" / "falls_windows")
    options = parser.parse_args()
    annotations = [
        each for each in read_annotations(options.data_dir, format="gmdcsa") if each.video.is_file()
    ]
    windows = [
        window for video in falls.read_videos(options.data_dir) for window in list_windows(video, annotations)
    ]
    labeled = [each for each in annotations if each.label in LABELED]
    windows += list_rest(labeled, REST, clip_seconds=falls.WINDOW_SECONDS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*it overlaps")  # they are meant to
        clips = cut_clips(windows, options.cache / "clips", group_by="person")
    path_of = {id(window): clip for window, clip in match(windows, clips)}
    for scheme, classes in SCHEMES.items():
        chosen = [window for window in windows if window.label in classes]
        labels = np.array([classes.index(window.label) for window in chosen])
        persons = given_sources([window.person for window in chosen], len(chosen))
        paths = [path_of[id(window)] for window in chosen]
        folder = ClipFolder(options.cache / "clips", classes, paths, labels, persons, {})
        features = options.cache / "features"
        dataset = create_feature_dataset(
            folder, backbone=options.backbone, inputs=falls.INPUTS, cache=features
        )
        people = np.unique([window.person for window in windows]).tolist()
        results = [leave_out(person, dataset, annotations) for person in tqdm(people, scheme)]
        counts = ", ".join(f"{np.sum(labels == row)} of {name}" for row, name in enumerate(classes))
        print(f"\nlabeled: {scheme} ({counts})\n{add(results)}", flush=True)


def match(windows, clips):
    """Pair windows with their clips, which `cut_clips` returns video by video, in the order of each video."""
    by_video = {}
    for window in windows:
        by_video.setdefault(window.video_key, []).append(window)
    ordered = [window for each in by_video.values() for window in each]
    return zip(ordered, clips, strict=True)


if __name__ == "__main__":
    main()
