"""Time what happens at each frame of a camera: LRCN against the tutorial's loop, and people one by one.

    HARKERAS_ASSETS=../shared/models python tests/benchmarks/real_time.py [folder of real clips]

Clips come from ../shared/data by default, the weights of the detector and the backbone from the folder of
assets. First, LRCN names the action at each frame of a video that is decoded, shrunk and pushed into an
`ActionStream` frame by frame, as it is and warmed up, and the loop that tutorials use does the same on the
same video; it runs on few frames, some before and some after ours. Each row is the median of several rounds,
with the lowest and the highest ratio; "CPU" is what a frame of ours takes of both cores together, which a
busy machine changes less. Then a camera of 30 frames per second, played from memory in real
time, shows 1, 2 and 4 people: detection at every third frame, tracks, a head on MobileNetV2 (alpha 0.35, 96
pixels) on the crop of each person. As in `harkeras watch`, only the newest frame is taken. Lag is the time
from a frame's capture to what is decided on it; "at full speed" is how many frames went through without a
camera to wait for.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from predict_on_video import join_clips, tutorial_predict_on_video  # noqa: E402

from harkeras.inference import ActionStream  # noqa: E402
from harkeras.inference.decisions import Decider  # noqa: E402
from harkeras.inference.people_stream import PeopleStream  # noqa: E402
from harkeras.models import create_lrcn_model  # noqa: E402
from harkeras.people.tracking import PeopleTracker  # noqa: E402
from harkeras.recipe import Recipe  # noqa: E402
from harkeras.transfer import create_head, frame_encoder  # noqa: E402
from harkeras.transfer.heads import join  # noqa: E402
from harkeras.video.reading import VideoInfo, iter_frames  # noqa: E402

FRAMES, SIZE = 20, 64
CLASSES = ("Fight", "Fall", "Run", "Walk")
TUTORIAL_FRAMES = 40  # timed before and again after ours
ROUNDS = 5
CAMERA_FPS, CAMERA_SECONDS, DETECT_EVERY = 30, 20, 3
HEIGHT, WIDTH = 360, 640  # of the camera's picture
BACKBONE_WEIGHTS = "mobilenet_v2_0.35_96_no_top_from_drq.weights.h5"


def push_frames(video, stream):
    """Name the action frame by frame; return seconds and CPU seconds per frame, and of each push, decided."""
    stream, decider = stream.anew(), Decider(CLASSES, stream.stride_seconds)
    times, start, cpu = [], time.perf_counter(), time.process_time()
    for frame in iter_frames(video, height=SIZE, width=SIZE):
        begin = time.perf_counter()
        for window in stream.push(frame.image[None], [frame.seconds]):
            decider.update(window)
        times.append(time.perf_counter() - begin)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - start
    return seconds / len(times), cpu / len(times), np.quantile(times, 0.95)


def compare_lrcn(clips, folder):
    """Time LRCN by `push` and by the tutorial's loop, and print a row for each spacing of windows."""
    video = join_clips(clips, folder / "small.mp4", 2000)
    info, model = VideoInfo.read(video), create_lrcn_model(len(CLASSES))
    print(f"LRCN frame by frame, {info.frame_count} frames of {info.width} x {info.height}")
    print(f"{'windows':<38} {'':<9} {'tutorial':>9} {'push':>6} {'CPU ms':>7} {'p95 ms':>7}   ratio")
    for words, clip_seconds, stride_seconds in (
        ("20 consecutive frames, at every frame", FRAMES / info.fps, 1 / info.fps),
        ("20 frames over 2 s, every 0.1 s", 2.0, None),
    ):
        recipe = Recipe(CLASSES, FRAMES, SIZE, SIZE, clip_seconds)
        for warm in (False, True):
            stream = ActionStream(model, recipe, stride_seconds=stride_seconds)
            if warm:
                stream.warm_up()
            else:
                stream.classify(np.zeros((1, FRAMES, SIZE, SIZE, 3), np.uint8))  # compiled all the same
            theirs, ours = [tutorial_predict_on_video(video, model, None, TUTORIAL_FRAMES)], []
            for _ in range(ROUNDS):
                ours.append(push_frames(video, stream))
                theirs.append(tutorial_predict_on_video(video, model, None, TUTORIAL_FRAMES))
            seconds, cpu, late = np.median(ours, axis=0)
            around = (np.array(theirs[1:]) + theirs[:-1]) / 2
            ratios = around / np.array(ours)[:, 0]
            row = f"{words:<38} {'warmed up' if warm else 'as it is':<9} {1 / np.median(theirs):>9.1f}"
            row += f" {1 / seconds:>6.0f} {1000 * cpu:>7.2f} {1000 * late:>7.2f}"
            print(f"{row}   {np.median(ratios):.0f} ({ratios.min():.0f} to {ratios.max():.0f})", flush=True)


def film_people(videos, count):
    """Return frames uint8 RGB of a picture in which so many people move, each in a part of it."""
    across = {1: 1, 2: 2, 4: 2}[count]
    down = count // across
    height, width = HEIGHT // down, WIDTH // across
    sources = [
        [frame.image for frame in iter_frames(video, every_seconds=1 / CAMERA_FPS, end_seconds=4)]
        for video in videos[:count]
    ]
    images = []
    for i in range(CAMERA_FPS * CAMERA_SECONDS):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for k, source in enumerate(sources):
            # There and back, so that nobody jumps.
            place = i % (2 * len(source) - 2)
            frame = source[min(place, 2 * len(source) - 2 - place)]
            scale = min(height / frame.shape[0], width / frame.shape[1])
            small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            top, left = k // across * height, k % across * width
            image[top : top + small.shape[0], left : left + small.shape[1]] = small[:height, :width]
        images.append(image)
    return images


def watch_people(images, model, recipe, *, in_real_time):
    """Follow people in the newest frame each time; return lags in seconds, people per frame, frames/s."""
    stream = PeopleStream(model, recipe, tracker=PeopleTracker(every=DETECT_EVERY))
    stream.warm_up()
    deciders, lags, people = {}, [], []
    start, taken = time.perf_counter(), -1
    while taken < len(images) - 1:
        now = time.perf_counter() - start
        newest = min(int(now * CAMERA_FPS), len(images) - 1) if in_real_time else taken + 1
        if newest == taken:
            time.sleep(max((taken + 1) / CAMERA_FPS - now, 0))
            continue
        taken = newest
        for number, window in stream.push(images[taken], taken / CAMERA_FPS):
            decider = deciders.setdefault(number, Decider(CLASSES, stream.stride_seconds))
            decider.update(window)
        lags.append(time.perf_counter() - start - taken / CAMERA_FPS)
        people.append(len(stream.people))
    return np.array(lags), np.array(people), len(lags) / (time.perf_counter() - start)


def build_head(assets):
    """Put a head on the small backbone; its own weights are random, which take as long."""
    weights = assets / BACKBONE_WEIGHTS
    encoder = frame_encoder(
        "mobilenet_v2_0.35", (96, 96, 3), weights=weights if weights.is_file() else None, parts=("last",)
    )
    return join(encoder, create_head("mean_std_diff", len(CLASSES), (16, encoder.output_shape[-1])))


def compare_people(videos, assets):
    """Print a row for 1, 2 and 4 people."""
    model, recipe = build_head(assets), Recipe(CLASSES, 16, 96, 96, 2.0)
    watch_people(film_people(videos, 1)[: 3 * CAMERA_FPS], model, recipe, in_real_time=False)  # compiled
    print(
        f"\nA camera of {CAMERA_FPS} frames per second, {WIDTH} x {HEIGHT}; detection every {DETECT_EVERY}rd"
    )
    print(
        f"{'people':>6} {'found':>6} {'frames taken':>13} {'median lag ms':>14} {'p95 lag ms':>11} "
        f"{'at full speed':>14}"
    )
    for count in (1, 2, 4):
        images = film_people(videos, count)
        lags, people, _ = watch_people(images, model, recipe, in_real_time=True)
        _, _, fps = watch_people(images, model, recipe, in_real_time=False)
        share, (median, late) = len(lags) / len(images), 1000 * np.quantile(lags, [0.5, 0.95])
        print(f"{count:>6} {people.mean():>6.1f} {share:>13.0%} {median:>14.0f} {late:>11.0f} {fps:>14.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    clips = sorted(data.glob("surveillance_fights/*/*.mp4"))
    people = sorted(data.glob("falls/*/ADL/*.mp4"))
    if not clips or len(people) < 4:
        sys.exit(f"no clips in {data}")
    with tempfile.TemporaryDirectory() as folder:
        compare_lrcn(clips, Path(folder))
    compare_people(people, Path(os.environ.get("HARKERAS_ASSETS", ROOT.parent / "shared" / "models")))


if __name__ == "__main__":
    main()
