"""Time predict_on_video against the loop that tutorials use: one prediction per frame by the same model.

    python tests/benchmarks/predict_on_video.py [folder of real clips, by default ../shared/data]

Both see windows of 20 consecutive frames. predict_on_video is timed as a whole, with the compilation that
each call begins with. The loop costs the same for each frame, so it runs on few: some before and some after
ours, so that a busy machine slows both, and counted only once its queue is full and the model was called.

The second table is of models as they are used, by windows of 2 seconds: LRCN, and what `auto` makes of clips,
heads on the middle of EfficientNet-Lite0, for each of its inputs (with random weights, which take as long).
"""

import argparse
import os
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import av
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from harkeras.evaluation.scores import measure_latency  # noqa: E402
from harkeras.inference.prediction import predict_on_video  # noqa: E402
from harkeras.models import count_multiply_adds, create_convlstm_model, create_lrcn_model  # noqa: E402
from harkeras.recipe import Recipe  # noqa: E402
from harkeras.transfer import create_head, frame_encoder  # noqa: E402
from harkeras.transfer.heads import join  # noqa: E402
from harkeras.video.reading import VideoInfo, iter_frames  # noqa: E402
from harkeras.video.writing import VideoWriter  # noqa: E402

FRAMES, SIZE = 20, 64
CLASSES = ("Fight", "Fall", "Run", "Walk")
WINDOW_SECONDS, INPUTS = 2.0, ((8, 128, 224), (8, 224, 384), (8, 320, 576), (16, 320, 576))
TUTORIAL_FRAMES = 40  # timed before and again after ours


def tutorial_predict_on_video(video, model, output, count):
    """The tutorial's loop. Returns the seconds per frame of `count` frames after the first prediction."""
    reader = cv2.VideoCapture(str(video))
    writer = None
    if output is not None:
        size = (int(reader.get(cv2.CAP_PROP_FRAME_WIDTH)), int(reader.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        code = cv2.VideoWriter_fourcc("m", "p", "4", "v")
        writer = cv2.VideoWriter(str(output), code, reader.get(cv2.CAP_PROP_FPS), size)
    frames_queue, label, times = deque(maxlen=FRAMES), "", []
    while reader.isOpened() and len(times) <= count:
        ok, frame = reader.read()
        if not ok:
            break
        frames_queue.append(cv2.resize(frame, (SIZE, SIZE)) / 255)
        if len(frames_queue) == FRAMES:
            probabilities = model.predict(np.expand_dims(frames_queue, axis=0), verbose=0)[0]
            label = CLASSES[np.argmax(probabilities)]
        cv2.putText(frame, label, (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 255, 0), 2)
        if writer is not None:
            writer.write(frame)
        if len(frames_queue) == FRAMES:
            times.append(time.perf_counter())
    reader.release()
    if writer is not None:
        writer.release()
    return (times[-1] - times[0]) / (len(times) - 1)


def join_clips(clips, path, count, fps=25, height=240, width=320):
    """Write the frames of many clips to one video of at least `count` frames."""
    written = 0
    with VideoWriter(path, fps) as writer:
        for clip in clips:
            for frame in iter_frames(clip, height=height, width=width):
                writer.write(frame.image)
                written += 1
            if written >= count:
                break
    return path


def repeat_video(video, path, times):
    """Copy the packets of a video several times in a row, without encoding them again."""
    with av.open(str(path), "w") as target:
        stream, start = None, 0
        for _ in range(times):
            with av.open(str(video)) as source:
                if stream is None:
                    stream = target.add_stream_from_template(source.streams.video[0])
                end = 0
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts, packet.dts = packet.pts + start, packet.dts + start
                        end = max(end, packet.pts + packet.duration)
                        packet.stream = stream
                        target.mux(packet)
                start = end
    return path


def measure(name, model, video, output, folder):
    """Time both on one video and print a row."""
    info = VideoInfo.read(video)
    model.recipe = Recipe(CLASSES, FRAMES, SIZE, SIZE, FRAMES / info.fps)
    tutorial_output = None if output is None else folder / "tutorial.mp4"
    before = tutorial_predict_on_video(video, model, tutorial_output, TUTORIAL_FRAMES)
    start = time.perf_counter()
    prediction = predict_on_video(video, model, output, stride_seconds=1 / info.fps, progress=False)
    seconds = time.perf_counter() - start
    assert len(prediction.windows) == info.frame_count - FRAMES + 1
    after = tutorial_predict_on_video(video, model, tutorial_output, TUTORIAL_FRAMES)
    theirs, ours = 2 / (before + after), info.frame_count / seconds
    size, writing = f"{info.width} x {info.height}", "no" if output is None else "yes"
    row = f"{name:<9} {size:>10} {writing:>7} {info.frame_count:>7} {theirs:>9.1f} {ours:>9.0f}"
    print(f"{row} {ours / theirs:>6.0f}x {ours / info.fps:>9.1f}x", flush=True)


def build_as_auto(frames, height, width):
    """Put a head on the middle of a backbone."""
    encoder = frame_encoder("efficientnet_lite0", (height, width, 3), weights=None, parts=("middle",))
    head = create_head("mean_std_diff", len(CLASSES), (frames, encoder.output_shape[-1]))
    head.name = "head"
    return join(encoder, head)


def measure_as_used(name, model, video):
    """Time a model with windows of two seconds, as often as it asks for them, and print a row."""
    info, shape = VideoInfo.read(video), model.input_shape[1:4]
    model.recipe = Recipe(CLASSES, *shape, WINDOW_SECONDS)
    latency, _ = measure_latency(model)
    start = time.perf_counter()
    prediction = predict_on_video(video, model, progress=False)
    speed = info.frame_count / (time.perf_counter() - start)
    size, billions = " x ".join(map(str, shape)), count_multiply_adds(model) / 1e9
    row = f"{name:<9} {size:>14} {billions:>9.3f} {1000 * latency:>12.1f} {len(prediction.windows):>8}"
    print(f"{row} {speed:>12.0f} {speed / info.fps:>9.1f}x", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    clips = sorted(data.glob("surveillance_fights/*/*.mp4"))
    originals = {video: VideoInfo.read(video) for video in data.glob("videos/*.mp4")}
    if not clips or not originals:
        sys.exit(f"no clips in {data}")
    largest = max(originals, key=lambda video: originals[video].height)
    lrcn, convlstm = create_lrcn_model(len(CLASSES)), create_convlstm_model(len(CLASSES))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        small = join_clips(clips, folder / "small.mp4", 2800)
        short = join_clips(clips, folder / "short.mp4", 400)
        large = repeat_video(largest, folder / "large.mp4", 8)
        output = folder / "annotated.mp4"
        print(
            f"One prediction per frame; the tutorial's loop ran on 2 x {TUTORIAL_FRAMES} frames of each video"
        )
        print(f"{'':<28} {'':>7} {'frames per second':>19} {'':>7} {'harkeras':>10}")
        print(
            f"{'model':<9} {'size':>10} {'writing':>7} {'frames':>7} {'tutorial':>9} {'harkeras':>9} "
            f"{'ratio':>7} {'real time':>10}"
        )
        measure("LRCN", lrcn, small, None, folder)
        measure("LRCN", lrcn, small, output, folder)
        measure("LRCN", lrcn, large, None, folder)
        measure("LRCN", lrcn, large, output, folder)
        measure("ConvLSTM", convlstm, short, None, folder)
        measure("ConvLSTM", convlstm, short, output, folder)
        print(
            f"\n{'model':<9} {'clip':>14} {'billions':>9} {'ms per clip':>12} {'windows':>8} "
            f"{'frames per s':>12} {'real time':>10}"
        )
        measure_as_used("LRCN", lrcn, small)
        for given in INPUTS:
            measure_as_used("auto", build_as_auto(*given), short)


if __name__ == "__main__":
    main()
