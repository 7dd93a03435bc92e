"""Falls against daily life by squares around people, on a person whom the model has never seen.

    python tests/benchmarks/falls_by_person.py [data_dir] [--backbone NAME] [--cache DIR]

The windows, the people left out, the head, the alarms and how they are counted are those of falls.py. Here
YOLOX-nano finds people in every third frame (`pip install "harkeras[people]"`), and what is learned from and
looked at is a square around the largest of them; windows in which nobody is found are left out of training.
In a running video everybody who is found goes through windows of their own, and raises alarms of their own.

First it prints in how many of these frames somebody is found, by the score that is asked for and by the
tracker, which waits for who is lost: while somebody is up, in the first 1.5 seconds of what is annotated as a
fall, and in what follows, when the person mostly lies.
"""

import argparse
import time
import warnings
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import falls
import numpy as np
from tqdm import tqdm

from harkeras.data.cutting import cut_clips
from harkeras.data.folders import ClipFolder
from harkeras.data.sources import given_sources
from harkeras.inference import predict_people
from harkeras.people import PeopleTracker, YoloxNano
from harkeras.training.calibration import tune_threshold
from harkeras.transfer.auto import train_auto
from harkeras.transfer.feature_dataset import create_feature_dataset
from harkeras.video.reading import iter_frames

INPUTS = ((falls.FRAMES, 224),)
EVERY = 3
KINDS = ("up", "first 1.5 s of a fall", "the rest of it")


def print_found(videos):
    """Print in how many frames somebody is found."""
    detector, scores, tracked = YoloxNano(), defaultdict(list), defaultdict(list)
    for video in tqdm(videos, "Looking for people"):
        surest = 0.0

        def detect(image):
            nonlocal surest
            boxes = detector(image)
            surest = boxes[:, 4].max(initial=0.0)
            return boxes

        tracker = PeopleTracker(detector=detect, every=EVERY)
        for number, frame in enumerate(iter_frames(video.path)):
            people = tracker.update(frame.image, frame.seconds)
            if number % EVERY == 0:
                since = [frame.seconds - start for start, end in video.falls if start <= frame.seconds < end]
                kind = KINDS[0] if not since else KINDS[1] if since[0] < 1.5 else KINDS[2]
                scores[kind].append(surest)
                tracked[kind].append(len(people) > 0)
    print(f"{'somebody is found in':<24} frames  score of 0.3  of 0.1  followed")
    for kind in KINDS:
        sure, unsure = (np.mean(np.array(scores[kind]) >= least) for least in (0.3, 0.1))
        print(f"{kind:<24} {len(scores[kind]):6} {sure:13.2f} {unsure:7.2f} {np.mean(tracked[kind]):9.2f}")


def leave_out(person, videos, dataset):
    """Train without a person; return a threshold and a tally of that person for each that is wanted."""
    train_set, test_set = dataset[dataset.groups != person], dataset[dataset.groups == person]
    trained = train_auto(train_set, seed=falls.SEED)
    tqdm.write(f"  without {person}: {trained.chosen}")
    recipe = trained.model.recipe = replace(trained.model.recipe, clip_seconds=falls.WINDOW_SECONDS)
    head, features = test_set.for_model(trained.model)
    of_fall = recipe.sharpen(head.predict(features, verbose=0))[:, falls.FALLING]
    known = recipe.sharpen(trained.chosen.probabilities)
    videos = [video for video in videos if video.person == person]
    running = [predict_people(video.path, trained.model, progress=False) for video in videos]
    results = []
    for wanted in falls.WANTED:
        threshold = 0.5
        with suppress(ValueError):  # none reaches it
            threshold = tune_threshold(train_set.labels, known, falls.FALLING, **wanted)
        delays, false_alarms = [], 0
        for video, people in zip(videos, running, strict=True):
            alarms = sorted(
                moment for each in people for moment in falls.list_alarms(each.prediction, threshold)
            )
            found, wrong = falls.match_alarms(alarms, video.falls)
            delays, false_alarms = delays + found, false_alarms + wrong
        answers = test_set.labels.tolist(), (of_fall >= threshold).tolist()
        tally = falls.Tally(*answers, delays, false_alarms, sum(video.seconds for video in videos))
        results.append((threshold, tally))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=Path, default=falls.DATA)
    parser.add_argument("--backbone", default=falls.BACKBONE, help="one of list_backbones()")
    parser.add_argument("--cache", type=Path, default=falls.ROOT / "data" / "falls_windows")
    options = parser.parse_args()
    videos = falls.read_videos(options.data_dir)
    print_found(videos)
    windows = [window for video in videos for window in falls.list_windows(video)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*it overlaps")  # they are meant to
        clips = cut_clips(windows, options.cache / "clips", group_by="person")
    labels = np.array([falls.CLASSES.index(window.label) for window in windows])
    persons = given_sources([window.person for window in windows], len(clips))
    folder = ClipFolder(options.cache / "clips", falls.CLASSES, clips, labels, persons, {})
    dataset = create_feature_dataset(
        folder, backbone=options.backbone, inputs=INPUTS, subject="person", cache=options.cache / "features"
    )
    print(f"somebody is found in {len(dataset)} of {len(windows)} windows")
    start, names = time.perf_counter(), np.unique(dataset.groups).tolist()
    results = [leave_out(name, videos, dataset) for name in tqdm(names, "People")]
    for row, wanted in enumerate(falls.WANTED):
        ((kind, share),) = wanted.items()
        print(f"\nthreshold for a {kind} of {share:.2f} of windows, on the other people\n{falls.HEADER}")
        for name, each in zip(names, results, strict=True):
            falls.show(name, f"{each[row][0]:.2g}", each[row][1])
        columns = zip(*(each[row][1] for each in results), strict=True)
        falls.show("all", "", falls.Tally(*(sum(column, type(column[0])()) for column in columns)))
    print(f"\n{time.perf_counter() - start:.0f} s after the features")


if __name__ == "__main__":
    main()
