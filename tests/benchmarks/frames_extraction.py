"""Time frames_extraction against the loop that tutorials use, on the same clips and in the same run.

    python tests/benchmarks/frames_extraction.py [folder of clips, by default ../shared/data] [--rounds 5]

Each round reads every clip with both, one after the other, so that a busy machine slows both. A clip's time
is the median of its rounds; the table shows the median over the clips of a group.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from harkeras.video import decoding as _decoding  # noqa: E402
from harkeras.video._scans import ScanCache  # noqa: E402
from harkeras.video.reading import frames_extraction  # noqa: E402

FRAMES, HEIGHT, WIDTH = 20, 64, 64


def tutorial_frames_extraction(video):
    """The tutorial's loop: one seek per frame."""
    frames = []
    reader = cv2.VideoCapture(str(video))
    skip = max(int(reader.get(cv2.CAP_PROP_FRAME_COUNT) / FRAMES), 1)
    for k in range(FRAMES):
        reader.set(cv2.CAP_PROP_POS_FRAMES, k * skip)
        success, frame = reader.read()
        if not success:
            break
        frames.append(cv2.resize(frame, (WIDTH, HEIGHT)) / 255)
    reader.release()
    return np.asarray(frames)


def ours(video):
    return frames_extraction(video, FRAMES, HEIGHT, WIDTH)


def write_avi(path, gop):
    """200 frames of moving noise, 320 x 240, MPEG-4 in AVI as in UCF-50; a key frame every `gop` frames."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 255, (40, 60, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"b": "600k"})
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = 240, 320, "yuv420p", gop
        for index in range(200):
            view = np.ascontiguousarray(scene[index : index + 240, index : index + 320])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def time_both(videos, rounds):
    """Seconds (rounds, clips, 2): the tutorial's loop and ours, in turns."""
    seconds = np.zeros((rounds, len(videos), 2))
    for round_ in range(rounds):
        for row, video in enumerate(videos):
            for column, read in enumerate((tutorial_frames_extraction, ours)):
                _decoding._scans = ScanCache()  # each reading is the first
                start = time.perf_counter()
                read(video)
                seconds[round_, row, column] = time.perf_counter() - start
    return np.median(seconds, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        groups = {
            "surveillance_fights, every 5th": sorted(arguments.data.glob("surveillance_fights/*/*.mp4"))[::5],
            "videos (up to 1280 x 720)": sorted(arguments.data.glob("videos/*.mp4")),
            "falls": sorted(arguments.data.glob("falls/*/*/*.mp4")),
            "AVI, 200 frames, key every 12": [write_avi(Path(folder) / "gop_12.avi", 12)],
            "AVI, 200 frames, key every 250": [write_avi(Path(folder) / "gop_250.avi", 250)],
        }
        print(f"{FRAMES} frames of {HEIGHT} x {WIDTH}; median ms per clip, {arguments.rounds} rounds")
        print(f"{'clips':32} {'count':>5} {'tutorial':>9} {'harkeras':>9} {'median ratio':>13} {'worst':>6}")
        for name, videos in groups.items():
            if not videos:
                print(f"{name:32} none found in {arguments.data}")
                continue
            time_both(videos[:1], 1)  # warm up
            tutorial, harkeras = time_both(videos, arguments.rounds).T
            ratio = tutorial / harkeras
            before, now = 1000 * np.median(tutorial), 1000 * np.median(harkeras)
            row = f"{name:32} {len(videos):5} {before:9.1f} {now:9.1f}"
            print(f"{row} {np.median(ratio):12.1f}x {ratio.min():5.1f}x", flush=True)


if __name__ == "__main__":
    main()
