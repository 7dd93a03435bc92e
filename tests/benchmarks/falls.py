"""Falls against daily life at home, on a person whom the model has never seen: one table.

    python tests/benchmarks/falls.py [data_dir] [--by frame,person,pose] [--rest] [--seeds 27] [--cache DIR]

`--by` says what the model sees: the whole frame; a square around the person, whom YOLOX-nano finds in every
third frame (`pip install "harkeras[people]"`); "people", one square around everybody in a window; "choice" of
frame and people, inside the training windows; or the joints that MoveNet finds (`"harkeras[pose]"`). Frames
and squares go through EfficientNet-Lite0 (`"harkeras[lite]"`) into the head that `auto` chooses; joints into
`pose_lstm`, which learns from them mirrored, turned and stretched at random.

Windows of one length are cut from the authors' ranges of GMDCSA-24, so that the length of a clip tells
nothing. The authors' "Falling" mostly goes on to the end of the video: it is the fall and the lying after it.
Daily ranges that overlap (sitting, reading) are joined, so that no moment counts twice for its names. Ranges
shorter than a window give none, except falls: the window around such a fall is taken.

In GMDCSA-24 somebody has labeled nearly all that happens; most people label what they look for. So with
`--rest` there are two more lines for each: models that learn from labels of falls and walking alone, and
models that learn from these and from a class "Nothing", cut from the rest of the same videos as `harkeras cut
--rest Nothing` does it. This rest is sitting, lying in bed, reading: daily life that nobody has named.

One of the 4 people is left out at a time. (Two of them were recorded in the same room; what is left out is a
person, not a place.) All is chosen by cross-validation inside the other three, and so is the threshold: once
for a wanted recall of windows, once for a wanted precision; 0.5 if none reaches that.

Then every whole video of that person runs by. An alarm is raised when "Falling" is decided in a live stream:
at the end of the window that did it, averaging and confirmation over. That the timeline dates labels back
helps nobody who waits for the alarm. Computing, and up to one frame, come on top. With squares, everybody who
is found goes through windows of their own, and raises alarms of their own. An alarm is right from just behind
the annotated start of a fall to one window behind its end: the first one finds the fall, more are not
counted. All others are false, also one that was raised too early and holds on.

First it prints in how many frames somebody is found, and in how many there are joints (a mean score of the 17
over 0.3): while somebody is up, in the first 1.5 seconds of what is annotated as a fall, and in what follows,
when the person mostly lies.
"""

import argparse
import os
import warnings
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from tqdm import tqdm

from harkeras.data.annotations import Annotation, read_annotations
from harkeras.data.cutting import cut_clips
from harkeras.data.folders import ClipFolder
from harkeras.data.joint_augment import JointAugmentation
from harkeras.data.loading import load_folder
from harkeras.data.rest import list_rest
from harkeras.data.sources import given_sources
from harkeras.inference import predict_people
from harkeras.inference.decisions import Decider, Window
from harkeras.inference.prediction import predict_on_video
from harkeras.models import create_pose_lstm_model
from harkeras.people import PeopleTracker, PoseTracker, YoloxNano
from harkeras.recipe import ClipFormat
from harkeras.training.calibration import tune_threshold
from harkeras.training.loop import train
from harkeras.transfer.auto import train_auto
from harkeras.transfer.feature_dataset import create_feature_dataset
from harkeras.video.reading import VideoInfo, iter_frames

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "falls"
BACKBONE = "efficientnet_lite0"
# About as long as it takes to fall. What comes before a fall is mostly annotated for 1.5 to 2.5 s: with 2 s,
# half of the videos of falls would give no daily window, and details of a recording could tell the class.
WINDOW_SECONDS, STEP_SECONDS = 1.5, 0.5
TOLERANCE_SECONDS = WINDOW_SECONDS  # so long behind a fall ends the last window that holds something of it
INPUT = (8, 224)  # of the backbone: frames, and the shorter side in pixels
JOINT_FRAMES, EPOCHS, BATCH = 24, 60, 16  # of pose_lstm
STRIDE_SECONDS = WINDOW_SECONDS / 8
FALLING, REST = "Falling", "Nothing"
SCHEMES = {
    "all daily life": ("daily life", FALLING),
    "walking": ("Walking", FALLING),
    "walking, the rest": ("Walking", REST, FALLING),
}
WANTED = ({"recall": 0.9}, {"precision": 0.9})
KINDS = ("up", "first 1.5 s of a fall", "the rest of it")
EVERY, JOINTS_FOUND = 3, 0.3


class Video(NamedTuple):
    """A video, who is seen in it, and when: ranges (start, end) in seconds."""

    path: Path
    person: str
    seconds: float
    falls: list
    daily: list
    walks: list

    def kind_at(self, seconds):
        since = [seconds - start for start, end in self.falls if start <= seconds < end]
        return KINDS[0] if not since else KINDS[1] if since[0] < 1.5 else KINDS[2]


def read_videos(annotations):
    videos = {}
    for video, start, end, label, person, _ in annotations:
        seconds = VideoInfo.read(video).duration_seconds
        found = videos.setdefault(video, Video(video, person, seconds, [], [], []))
        span = start, min(end, seconds)
        (found.falls if label == FALLING else found.daily).append(span)
        if label == "Walking":
            found.walks.append(span)
    return list(videos.values())


def merge(ranges, falls):
    """Join ranges that overlap or touch, and end them where a fall starts, as in these videos all do."""
    joined = []
    for start, end in sorted(ranges):
        end = min([end, *(first for first, _ in falls if first > start)])
        if joined and start <= joined[-1][1]:
            start, end = joined[-1][0], max(end, joined.pop()[1])
        joined.append((start, end))
    return joined


def list_windows(video):
    windows, daily = [], merge(video.daily, video.falls)
    for label, ranges in (("daily life", daily), (FALLING, video.falls), ("Walking", video.walks)):
        for start, end in ranges:
            if label == FALLING and end - start < WINDOW_SECONDS:
                start = min(max((start + end - WINDOW_SECONDS) / 2, 0), video.seconds - WINDOW_SECONDS)
                end = start + WINDOW_SECONDS
            count = int(np.floor((end - start - WINDOW_SECONDS) / STEP_SECONDS + 1e-6)) + 1
            for first in np.round(start + STEP_SECONDS * np.arange(count), 3).tolist():
                times = first, round(first + WINDOW_SECONDS, 3)
                windows.append(Annotation(video.path, *times, label, video.person))
    return windows


def cut_windows(data_dir, folder):
    """Return the videos, and the windows of all schemes, one group after the other, with their clips."""
    annotations = [each for each in read_annotations(data_dir, format="gmdcsa") if each.video.is_file()]
    videos = read_videos(annotations)
    windows = [window for video in videos for window in list_windows(video)]
    labeled = [each for each in annotations if each.label in ("Walking", FALLING)]
    windows += list_rest(labeled, REST, clip_seconds=WINDOW_SECONDS)
    windows.sort(key=lambda window: str(window.video))  # as `cut_clips` returns them: video by video
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*it overlaps")  # they are meant to
        return videos, windows, cut_clips(windows, folder, group_by="person")


def select(windows, clips, classes, folder):
    """Return the clips of some classes, each person a source."""
    rows = [row for row, window in enumerate(windows) if window.label in classes]
    labels = np.array([classes.index(windows[row].label) for row in rows])
    persons = given_sources([windows[row].person for row in rows], len(rows))
    return ClipFolder(folder, classes, [clips[row] for row in rows], labels, persons, {})


class Pictures:
    """Whole frames or squares around people: a frozen backbone, and subject and head that `auto` chooses."""

    def __init__(self, *subjects):
        self.subjects = subjects

    def read(self, folder, cache):
        options = {"backbone": BACKBONE, "inputs": (INPUT,), "subjects": self.subjects}
        return create_feature_dataset(folder, **options, cache=cache / "features")

    def learn(self, train_set, seed):
        """Return a model, and the probabilities of the training clips by models that had not seen them."""
        trained = train_auto(train_set, seed=seed)
        return trained.model, trained.model.recipe.sharpen(trained.chosen.probabilities)

    def run(self, video, model):
        if model.recipe.subject == "person":
            people = predict_people(video, model, stride_seconds=STRIDE_SECONDS, progress=False)
            return [each.prediction for each in people]
        return [predict_on_video(video, model, stride_seconds=STRIDE_SECONDS, progress=False)]


class Joints:
    """The joints of the person in the picture, and `pose_lstm`."""

    def read(self, folder, cache):
        name = "_".join(folder.classes).replace(" ", "")
        return load_folder(folder, ClipFormat(JOINT_FRAMES, streams="pose"), cache=cache / f"{name}.npy")

    def learn(self, train_set, seed):
        known = np.zeros((len(train_set), len(train_set.classes)))
        for other in np.unique(train_set.groups):
            inside = train_set.groups == other
            model = self.fit(train_set[~inside], seed)
            known[inside] = model.predict(np.asarray(train_set[inside].features), verbose=0)
        return self.fit(train_set, seed), known

    def fit(self, dataset, seed):
        keras.utils.set_random_seed(seed)
        model = create_pose_lstm_model(len(dataset.classes), (JOINT_FRAMES, 17, 3))
        shown = dataset.for_training(augment=JointAugmentation())
        train(model, shown, epochs=EPOCHS, batch_size=BATCH, seed=seed, verbose=False)
        return model

    def run(self, video, model):
        return [predict_on_video(video, model, stride_seconds=STRIDE_SECONDS, progress=False)]


def list_alarms(prediction, classes, threshold):
    """Return the moments at which "Falling" was newly decided in a live stream."""
    decider = Decider(classes, STRIDE_SECONDS, thresholds={FALLING: threshold})
    windows = zip(*prediction.windows.T.tolist(), prediction.probabilities, strict=True)
    labels = [decider.update(Window(*window)) for window in windows]  # each at its moment, not dated back
    changes = enumerate(pairwise([None, *labels]))
    return [float(prediction.windows[i, 1]) for i, (before, now) in changes if now == FALLING != before]


def match_alarms(moments, falls):
    """Return the delay of the first alarm for each fall, None without one, and the number of false alarms."""
    delays, right = [], set()
    for start, end in falls:
        inside = [moment for moment in moments if start < moment <= end + TOLERANCE_SECONDS]
        delays.append(inside[0] - start if inside else None)
        right.update(inside)
    return delays, len(moments) - len(right)


def leave_out(person, videos, dataset, way, seed):
    """Train without a person; return delays and false alarms for each threshold that is wanted."""
    train_set = dataset[dataset.groups != person]
    model, known = way.learn(train_set, seed)
    model.recipe = replace(model.recipe, clip_seconds=WINDOW_SECONDS)
    videos = [video for video in videos if video.person == person]
    running = [way.run(video.path, model) for video in videos]
    classes, results = model.recipe.classes, []
    for wanted in WANTED:
        threshold = 0.5
        with suppress(ValueError):  # none reaches it
            threshold = tune_threshold(train_set.labels, known, classes.index(FALLING), **wanted)
        delays, false_alarms = [], 0
        for video, predictions in zip(videos, running, strict=True):
            alarms = sorted(
                moment for each in predictions for moment in list_alarms(each, classes, threshold)
            )
            found, wrong = match_alarms(alarms, video.falls)
            delays, false_alarms = delays + found, false_alarms + wrong
        results.append((delays, false_alarms))
    return results


def describe(results, seconds):
    """Return the columns of the table for all people together."""
    delays, false_alarms = (
        [delay for each, _ in results for delay in each],
        sum(wrong for _, wrong in results),
    )
    late = [delay for delay in delays if delay is not None] or [np.nan]
    found = f"{sum(delay is not None for delay in delays)} of {len(delays)}"
    per_hour = 3600 * false_alarms / seconds
    return f"{found:>9} {false_alarms:6} {per_hour:9.0f} {np.median(late):9.1f} {max(late):6.1f}"


def print_found(videos, ways):
    """Print in how many frames somebody is found, and in how many there are joints."""
    found = defaultdict(list)
    for video in tqdm(videos, "Looking for people"):
        detector, surest = YoloxNano() if "person" in ways else None, 0.0

        def detect(image, detector=detector):
            nonlocal surest
            boxes = detector(image)
            surest = boxes[:, 4].max(initial=0.0)
            return boxes

        people = PeopleTracker(detector=detect, every=EVERY) if "person" in ways else None
        joints = PoseTracker(threshold=0.0, smooth=False) if "pose" in ways else None
        for number, frame in enumerate(iter_frames(video.path)):
            kind = video.kind_at(frame.seconds)
            if people is not None:
                followed = people.update(frame.image, frame.seconds)
                if number % EVERY == 0:
                    found["a score of 0.3", kind].append(surest >= 0.3)
                    found["a score of 0.1", kind].append(surest >= 0.1)
                    found["followed", kind].append(len(followed) > 0)
            if joints is not None:
                scores = joints.update(frame.image, frame.seconds)[:, 2]
                found["joints", kind].append(scores.mean() > JOINTS_FOUND)
    print(f"{'share of the frames':<20} {'  '.join(KINDS)}")
    for what in dict.fromkeys(name for name, _ in found):
        shares = (f"{np.mean(found[what, kind]):.2f} of {len(found[what, kind])}" for kind in KINDS)
        print(f"{what:<20} {'  '.join(shares)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_dir", nargs="?", type=Path, default=DATA)
    parser.add_argument("--by", default="frame,person,pose", help="what the model sees")
    parser.add_argument("--rest", action="store_true", help="also learn from fewer labels, and from the rest")
    parser.add_argument("--seeds", default="27", help="of trainings, each a line of its own")
    parser.add_argument("--cache", type=Path, default=ROOT / "data" / "falls_windows")
    options = parser.parse_args()
    ways = {subject: Pictures(subject) for subject in ("frame", "people", "person")}
    ways |= {"choice": Pictures("frame", "people"), "pose": Joints()}
    ways = {name: ways[name] for name in options.by.split(",")}
    videos, windows, clips = cut_windows(options.data_dir, options.cache / "clips")
    if set(ways) & {"person", "pose"}:
        print_found(videos, ways)
    people, seconds = sorted({video.person for video in videos}), sum(video.seconds for video in videos)
    print(
        f"\n{len(videos)} videos of {len(people)} people, {seconds:.0f} s; by thresholds for a recall of 0.9"
    )
    print("of the windows of the other people, and below, for a precision of 0.9")
    print(f"{'sees':<8} {'learns falls and':<20} windows      found  false  per hour  delay, s  worst")
    for name, way in ways.items():
        for scheme, classes in list(SCHEMES.items())[: None if options.rest else 1]:
            dataset = way.read(select(windows, clips, classes, options.cache / "clips"), options.cache)
            for seed in map(int, options.seeds.split(",")):
                results = [leave_out(each, videos, dataset, way, seed) for each in tqdm(people, scheme)]
                for row, each in enumerate(zip(*results, strict=True)):
                    head = f"{name:<8} {scheme:<20} {len(dataset):7}" if not row else " " * 37
                    print(f"{head}  {describe(each, seconds)}", flush=True)


if __name__ == "__main__":
    main()
