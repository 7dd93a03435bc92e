"""Falls against daily life by joints alone, on a person whom the model has never seen.

    python tests/benchmarks/falls_by_pose.py [data_dir] [--cache DIR] [--trainings 3]

The windows, the people left out, the alarms and how they are counted are those of falls.py. Here MoveNet
finds the joints (`pip install "harkeras[pose]"`), and `pose_lstm` learns from them, mirrored, turned and
stretched at random. The threshold is chosen on the other three people, each of them named by a model that was
trained without them. A training is repeated with other draws, and each repetition is a table of its own: with
14 falls, what differs between them is chance.

First it prints in how many frames joints are found (a mean score of the 17 over 0.3): while somebody is up,
in the first 1.5 seconds of what is annotated as a fall, and in what follows, when the person mostly lies.
"""

import argparse
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import falls
import keras
import numpy as np
from tqdm import tqdm

from harkeras.data.cutting import cut_clips
from harkeras.data.folders import ClipFolder
from harkeras.data.joint_augment import JointAugmentation
from harkeras.data.loading import load_folder
from harkeras.data.sources import given_sources
from harkeras.inference.prediction import predict_on_video
from harkeras.models import create_pose_lstm_model
from harkeras.people import PoseTracker
from harkeras.recipe import ClipFormat
from harkeras.training.calibration import tune_threshold
from harkeras.training.loop import train
from harkeras.video.reading import iter_frames

FRAMES, EPOCHS, BATCH = 24, 60, 16
FOUND = 0.3  # mean score of the joints


def print_found(videos):
    """Print in how many frames there are joints."""
    scores = {"up": [], "first 1.5 s of a fall": [], "the rest of it": []}
    for video in tqdm(videos, "Looking for joints"):
        tracker = PoseTracker(threshold=0.0, smooth=False)
        for frame in iter_frames(video.path):
            since = [frame.seconds - start for start, end in video.falls if start <= frame.seconds < end]
            kind = "up" if not since else "first 1.5 s of a fall" if since[0] < 1.5 else "the rest of it"
            scores[kind].append(tracker.update(frame.image, frame.seconds)[:, 2].mean())
    for kind, values in scores.items():
        share = np.mean(np.array(values) > FOUND)
        print(
            f"joints found in {share:.2f} of {len(values)} frames: {kind}, mean score {np.mean(values):.2f}"
        )


def train_on(dataset, seed):
    keras.utils.set_random_seed(seed)
    model = create_pose_lstm_model(len(falls.CLASSES), (FRAMES, 17, 3))
    shown = dataset.for_training(augment=JointAugmentation())
    train(model, shown, epochs=EPOCHS, batch_size=BATCH, seed=seed, verbose=False)
    model.recipe = replace(model.recipe, clip_seconds=falls.WINDOW_SECONDS)
    return model


def name(model, dataset):
    return model.predict(np.asarray(dataset.features), verbose=0)


def leave_out(person, videos, dataset, seed):
    """Train without a person; return a threshold and a tally of that person for each that is wanted."""
    train_set, test_set = dataset[dataset.groups != person], dataset[dataset.groups == person]
    known = np.zeros((len(train_set), len(falls.CLASSES)))
    for other in np.unique(train_set.groups):
        inside = train_set.groups == other
        known[inside] = name(train_on(train_set[~inside], seed), train_set[inside])
    model = train_on(train_set, seed)
    of_fall = name(model, test_set)[:, falls.FALLING]
    videos = [video for video in videos if video.person == person]
    stride = falls.WINDOW_SECONDS / falls.FRAMES  # as list_alarms takes it
    running = [predict_on_video(video.path, model, stride_seconds=stride, progress=False) for video in videos]
    results = []
    for wanted in falls.WANTED:
        threshold = 0.5
        with suppress(ValueError):  # none reaches it
            threshold = tune_threshold(train_set.labels, known, falls.FALLING, **wanted)
        delays, false_alarms = [], 0
        for video, prediction in zip(videos, running, strict=True):
            found, wrong = falls.match_alarms(falls.list_alarms(prediction, threshold), video.falls)
            delays, false_alarms = delays + found, false_alarms + wrong
        answers = test_set.labels.tolist(), (of_fall >= threshold).tolist()
        tally = falls.Tally(*answers, delays, false_alarms, sum(video.seconds for video in videos))
        results.append((threshold, tally))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=Path, default=falls.DATA)
    parser.add_argument("--cache", type=Path, default=falls.ROOT / "data" / "falls_windows")
    parser.add_argument("--trainings", type=int, default=3, help="with other draws each")
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
    dataset = load_folder(folder, ClipFormat(FRAMES, streams="pose"), cache=options.cache / "joints.npy")
    start, names = time.perf_counter(), np.unique(dataset.groups).tolist()
    for seed in range(falls.SEED, falls.SEED + options.trainings):
        results = [leave_out(each, videos, dataset, seed) for each in tqdm(names, "People")]
        for row, wanted in enumerate(falls.WANTED):
            ((kind, share),) = wanted.items()
            print(f"\nseed {seed}, threshold for a {kind} of {share:.2f} of windows\n{falls.HEADER}")
            for each, result in zip(names, results, strict=True):
                falls.show(each, f"{result[row][0]:.2g}", result[row][1])
            columns = zip(*(result[row][1] for result in results), strict=True)
            falls.show("all", "", falls.Tally(*(sum(column, type(column[0])()) for column in columns)))
    print(f"\n{time.perf_counter() - start:.0f} s after the joints")


if __name__ == "__main__":
    main()
