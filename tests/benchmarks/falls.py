"""Falls against daily life at home, on a person whom the model has never seen.

    python tests/benchmarks/falls.py [data_dir] [--weights FILE] [--cache DIR]

Windows of one length are cut from the authors' ranges of GMDCSA-24, so that the length of a clip tells
nothing; overlapping daily ranges (Sitting, Reading) are joined first, so that no moment counts twice for its
names. The authors' "Falling" mostly goes on to the end of the video: it is the fall and the lying after it. A
range that is shorter than a window gives none, but for a fall with room around it.

One of the 4 people is left out at a time. Features, head and strength are chosen by cross-validation inside
the other three, and so is the threshold, once for a wanted recall of windows and once for a wanted precision
(0.5 if none reaches it). Nothing was tuned on the person left out.

Then each whole video of that person runs by. An alarm is the moment at which "Falling" is decided in a live
stream: the end of the window that did it, averaging and confirmation over; that the timeline later dates the
label back does not help who waits for the alarm. (Computing, and waiting for the next frame, come on top.) An
alarm is right from the annotated start of a fall to one window behind its end; the first one finds the
fall, later ones there are not counted. All others are false, also one that was raised too early and holds on.

Windows overlap and there are few videos, so that the intervals are rather too narrow than too wide.
"""

import argparse
import os
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from tqdm import tqdm

from harkeras.annotations import Annotation, cut_clips, read_annotations
from harkeras.auto import head_features, train_auto
from harkeras.calibration import tune_threshold
from harkeras.decisions import Decider, Window
from harkeras.evaluation import wilson_interval
from harkeras.feature_table import read_feature_table
from harkeras.prediction import predict_on_video
from harkeras.video import VideoInfo

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "falls"
WEIGHTS = ROOT.parent / "shared" / "models" / "mobilenet_v2_1.0_224_from_ptq_no_top.weights.h5"
SEED = 27
CLASSES = ("daily life", "Falling")
FALLING = 1
# About as long as it takes to fall. With 2 s, half of the fall videos would have no daily window left, and
# the room of a recording could tell the class: what comes before most of these falls is 1.4 to 2.5 s long.
WINDOW_SECONDS = 1.5
STEP_SECONDS = 0.5
TOLERANCE_SECONDS = WINDOW_SECONDS  # the last window that holds something of a fall ends so long behind it
INPUTS = ((8, 224, 288),)
WANTED = ({"recall": 0.9}, {"precision": 0.9})


@dataclass
class Video:
    """A video, who is seen in it, and when: ranges (start, end) in seconds."""

    path: Path
    person: str
    seconds: float
    falls: list[tuple[float, float]]
    daily: list[tuple[float, float]]


@dataclass
class Tally:
    """What came out for one or more people: windows, falls (delay in seconds, None if missed), alarms."""

    labels: np.ndarray
    said: np.ndarray
    delays: list[float | None]
    false_alarms: int
    seconds: float


def read_videos(data_dir):
    """Return the videos that are there, in order, with their ranges."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows of the tables whose videos are not here
        annotations = read_annotations(data_dir, format="gmdcsa")
    videos = {}
    for each in annotations:
        if Path(each.video).is_file():
            videos.setdefault(each.video, []).append(each)
    found = []
    for path, ranges in sorted(videos.items()):
        seconds = VideoInfo.read(path).duration_seconds
        spans = {True: [], False: []}
        for each in ranges:
            spans[each.label == "Falling"].append((each.start_seconds, min(each.end_seconds, seconds)))
        found.append(Video(path, ranges[0].person, seconds, sorted(spans[True]), daily_spans(**spans_(spans))))
    return found


def list_windows(video):
    """Return the windows of a video as ranges to be cut."""
    windows = []
    for label, ranges in zip(CLASSES, (video.daily, video.falls), strict=True):
        for start, end in ranges:
            if label == "Falling" and end - start < WINDOW_SECONDS:  # around its middle
                start = (start + end - WINDOW_SECONDS) / 2
                start = max(min(start, video.seconds - WINDOW_SECONDS), 0)
                end = start + WINDOW_SECONDS
            count = int((end - start - WINDOW_SECONDS) / STEP_SECONDS + 1 + 1e-6)
            for first in start + STEP_SECONDS * np.arange(count):
                times = round(float(first), 3), round(float(first) + WINDOW_SECONDS, 3)
                windows.append(Annotation(video.path, *times, label, video.person))
    return windows
