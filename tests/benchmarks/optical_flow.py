"""Time optical flow, method by method, in seconds of work per ten seconds of video.

    python tests/benchmarks/optical_flow.py [folder of videos, by default ../shared/data/videos] [--seconds 4]

A known report on I3D has TV-L1 take one minute for ten seconds of video. Here each method computes the same
fields of the same frames, at the size that harkeras uses and at the one that I3D was trained with (a shorter
side of 256), in one thread. TV-L1 is measured where OpenCV has it (opencv-contrib-python). The last line
times all that `flow_extraction` does to a clip of 20 frames with 10 fields each, decoding included.
"""

import argparse
import sys
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from harkeras.video.flow import flow_size, optical_flow  # noqa: E402
from harkeras.video.reading import (  # noqa: E402
    VideoInfo,
    flow_extraction,
    iter_frames,
)

METHODS = ["dis", "farneback", *(["tvl1"] if hasattr(cv2, "optflow") else [])]
FIELDS_PER_TEN_SECONDS = 250  # at 25 frames a second


def size_256(height, width):
    scale = 256 / min(height, width)
    return round(height * scale), round(width * scale)


def milliseconds_per_field(video, size, method, seconds):
    info = VideoInfo.read(video)
    height, width = size(info.height, info.width)
    end = min(seconds, info.duration_seconds)
    frames = [frame.image for frame in iter_frames(video, height=height, width=width, end_seconds=end)]
    optical_flow(frames[0], frames[1], method)
    times = []
    for first, second in pairwise(frames):
        start = time.perf_counter()
        optical_flow(first, second, method)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT.parent / "shared/data/videos")
    parser.add_argument("--seconds", type=float, default=4)
    arguments = parser.parse_args()
    videos = sorted(arguments.folder.rglob("*.mp4"))
    if not videos:
        parser.error(f"no .mp4 in {arguments.folder}")
    cv2.setNumThreads(1)
    print(f"{len(videos)} videos, medians; seconds of work per 10 s of video at 25 frames a second")
    print(f"{'method':<10} {'shorter side':>12} {'ms per field':>13} {'s per 10 s':>11} {'of DIS':>8}")
    for name, size in (("160", flow_size), ("256", size_256)):
        dis = None
        for method in METHODS:
            each = [milliseconds_per_field(video, size, method, arguments.seconds) for video in videos]
            median = float(np.median(each))
            dis = dis or median
            work = median * FIELDS_PER_TEN_SECONDS / 1000
            print(f"{method:<10} {name:>12} {median:13.2f} {work:11.2f} {median / dis:7.1f}x")
    times = []
    for video in videos:
        start = time.perf_counter()
        flow_extraction(
            video, 20, 64, 64, end_seconds=min(arguments.seconds, VideoInfo.read(video).duration_seconds)
        )
        times.append(time.perf_counter() - start)
    print(f"flow_extraction, a clip of at most {arguments.seconds:g} s: {np.median(times):.2f} s")


if __name__ == "__main__":
    main()
