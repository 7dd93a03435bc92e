"""What becomes of damaged videos? Seeded mutants of small files, read in every way.

    python tests/benchmarks/mutants.py [--count 1000] [--seed 27] [--timeout 60] [--keep folder]

The script encodes small videos in several containers and codecs, then flips bits, cuts, repeats, swaps and
erases parts of them, or gives their packets other times. A worker process reads each mutant by every call;
one that hangs or dies is replaced. A mutant may be refused by `VideoError`. What must not happen, and is
counted as a fault: any other error, a hang, a crash, times that do not increase, ways that disagree, a length
or memory that does not follow from the number of frames. The mutants with faults are kept in the folder that
`--keep` names.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

FRAMES, HEIGHT, WIDTH = 60, 64, 96
# A frame is on screen for ten minutes at the most.
SECONDS_PER_FRAME = 600
MEGABYTES = 700
SOURCES = {
    "h264.mp4": {"max_b_frames": 2},
    "h264_sound.mov": {"max_b_frames": 2, "sound": True},
    "h264.mkv": {"max_b_frames": 3},
    "h264.ts": {"max_b_frames": 2},
    "h264.avi": {},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4_b.avi": {"codec": "mpeg4", "max_b_frames": 2},
    "mpeg4_b.mkv": {"codec": "mpeg4", "max_b_frames": 2},
    "mpeg2.mpg": {"codec": "mpeg2video", "max_b_frames": 2},
    "mpeg1.avi": {"codec": "mpeg1video", "max_b_frames": 2},
    "vp8.webm": {"codec": "libvpx"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "slides.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


def encode(path, *, codec="libx264", pix_fmt="yuv420p", max_b_frames=0, sound=False, options=None):
    """Encode a bright bar that moves over noise."""
    noise = np.random.default_rng(0).integers(0, 120, (HEIGHT, WIDTH, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = HEIGHT, WIDTH, pix_fmt, 15
        stream.max_b_frames = max_b_frames
        tone = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for index in range(FRAMES):
            image = noise.copy()
            image[:, index : index + 16] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for start in range(0, 40_000 if sound else 0, 1024):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 16000, start
            container.mux(tone.encode(samples))
        for each in filter(None, (stream, tone)):
            container.mux(each.encode(None))
    return path


def retime(source, target, rng):
    """Copy packets into a Matroska file, with times that are swapped, moved and jump."""
    with av.open(str(source)) as container, av.open(str(target), "w", format="matroska") as copy:
        template = container.streams.video[0]
        packets = [packet for packet in container.demux(template) if packet.size]
        stream, base = copy.add_stream_from_template(template), Fraction(1, 1000)
        times = np.arange(len(packets)) * 40
        for _ in range(rng.integers(1, 4)):
            row = rng.integers(len(packets))
            match rng.integers(3):
                case 0:
                    times[row:] += 10 ** rng.integers(2, 9)
                case 1:
                    times[row] += rng.integers(-2000, 2000)
                case 2:
                    times[row : row + 4] = rng.permutation(times[row : row + 4])
        for number, (packet, seconds) in enumerate(zip(packets, np.maximum(times, 0).tolist(), strict=True)):
            packet.stream, packet.time_base, packet.dts, packet.pts = stream, base, None, seconds
            packet.dts = min(seconds, number) if rng.integers(2) else seconds
            try:
                copy.mux(packet)
            except (av.error.FFmpegError, ValueError):  # the muxer has its own idea of order
                continue
    return target.read_bytes()


def mutate(content, rng):
    """Damage the bytes of a file in one to three ways."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        size = len(content)
        start = int(rng.integers(min(size, 600) if rng.integers(2) else size))  # headers are hit more often
        length = int(min(rng.integers(1, 1 + size // 4), size - start))
        match rng.integers(7):
            case 0:
                for place in rng.integers(size, size=rng.integers(1, 20)):
                    content[place] ^= 1 << int(rng.integers(8))
            case 1:
                content[start] = int(rng.integers(256))
            case 2:
                del content[int(rng.integers(size // 8, size)) :]
            case 3:
                del content[start : start + length]
            case 4:
                content[start:start] = content[start : start + length]
            case 5:
                content[start : start + length] = bytes(length)
            case 6:
                other = int(rng.integers(size - length + 1))
                part, second = content[start : start + length], content[other : other + length]
                content[other : other + length], content[start : start + length] = part, second
        if len(content) < 100:
            break
    return bytes(content)


def make_mutant(number, seed, sources, folder):
    rng = np.random.default_rng([seed, number])
    source = sources[number % len(sources)]
    path = folder / f"{number:05d}_{source.name}"
    if rng.integers(4) == 0 and source.suffix in (".mp4", ".mkv", ".avi"):
        path = path.with_suffix(".mkv")
        path.write_bytes(retime(source, path, rng))
    else:
        path.write_bytes(mutate(source.read_bytes(), rng))
    return path


def read_in_every_way(path, model, folder):
    """Return what each call did, and the faults."""
    from harkeras import (
        Annotation,
        VideoError,
        VideoInfo,
        cut_clips,
        frames_extraction,
        iter_frames,
        predict_on_video,
    )
    from harkeras.video.reading import flow_extraction

    done, faults, values = {}, [], {}

    def attempt(name, call):
        start = time.perf_counter()
        try:
            values[name] = call()
            done[name] = "read"
        except VideoError as error:
            done[name] = "refused"
            if path.name not in str(error):
                faults.append(f"{name}: the file is not named: {error}")
        except Exception as error:
            if "predict_image" in str(error):  # one picture is left of a GIF: prediction has a way of its own
                return
            done[name] = "error"
            faults.append(f"{name}: {type(error).__name__}: {error}")
        done[name, "seconds"] = time.perf_counter() - start

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        attempt("iter_frames", lambda: [frame.seconds for frame in iter_frames(path, height=16, width=16)])
        attempt("VideoInfo", lambda: VideoInfo.read(path))
        attempt("frames_extraction", lambda: frames_extraction(path, 8, 16, 16))
        attempt("flow", lambda: flow_extraction(path, 3, 16, 16, fields=2))
        attempt("predict", lambda: predict_on_video(path, model, folder / "out.mp4", progress=False))
        info = values.get("VideoInfo")
        if info is not None:
            start, end = info.frame_seconds[0], info.duration_seconds
            ranges = [(start, (start + end) / 2), ((start + end) / 2, end)]
            annotations = [Annotation(path, *each, "Falling") for each in ranges]
            attempt(
                "cut",
                lambda: [VideoInfo.read(clip).frame_count for clip in cut_clips(annotations, folder / "cut")],
            )
    whole = not any("damaged" in str(each.message) for each in told)
    faults += find_disagreements(values, whole)
    if len({done[name] for name in done if isinstance(name, str)}) > 1:
        faults.append(
            f"some ways read, some refuse: {[f'{k} {v}' for k, v in done.items() if isinstance(k, str)]}"
        )
    return done, faults


def find_disagreements(values, whole):
    info, seconds, prediction = values.get("VideoInfo"), values.get("iter_frames"), values.get("predict")
    if info is None or seconds is None:
        return
    if not (np.diff(seconds) > 0).all() or not (np.diff(info.frame_seconds) > 0).all():
        yield "times do not increase"
    if info.duration_seconds > SECONDS_PER_FRAME * (info.frame_count + 1):
        yield f"{info.duration_seconds:.0f} s for {info.frame_count} frames"
    if whole and not np.allclose(seconds, info.frame_seconds[: len(seconds)]):
        yield "iter_frames and VideoInfo have other times"
    if len(seconds) != info.frame_count:
        yield f"iter_frames gives {len(seconds)} frames, VideoInfo {info.frame_count}"
    if prediction is not None and prediction.segments[-1].end_seconds != info.duration_seconds:
        yield f"prediction ends at {prediction.segments[-1].end_seconds} of {info.duration_seconds}"
    if whole and "cut" in values and sum(values["cut"]) != info.frame_count:
        yield f"cuts hold {values['cut']} of {info.frame_count} frames"


def work(pipe):
    """Read the files whose paths come through a pipe."""
    import keras

    from harkeras.recipe import Recipe

    clip = keras.Input((4, 16, 16, 3))
    scores = keras.layers.GlobalAveragePooling3D()(keras.layers.Rescaling(1 / 255)(clip))
    model = keras.Model(clip, keras.layers.Dense(2, activation="softmax")(scores))
    model.recipe = Recipe(("a", "b"), 4, 16, 16, clip_seconds=0.5)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what FFmpeg says of damage, and the bars
    pipe.send("ready")
    while path := pipe.recv():
        with tempfile.TemporaryDirectory() as folder:
            before = peak_megabytes()
            done, faults = read_in_every_way(path, model, Path(folder))
            if peak_megabytes() - before > MEGABYTES:
                faults.append(f"memory grew from {before} to {peak_megabytes()} MB")
            pipe.send((done, faults))


def peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Worker:
    """A process that reads mutants and may die of it."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other,), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()

    def read(self, path, timeout):
        self.pipe.send(path)
        if not self.pipe.poll(timeout):
            return {}, [f"hangs for {timeout} s"]
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            return {}, [f"the process died: {self.process.exitcode}"]

    def stop(self):
        self.process.kill()
        self.process.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--seed", type=int, default=27)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    outcomes, slowest, faulty, worker = Counter(), Counter(), [], Worker()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        sources = [encode(folder / name, **options) for name, options in SOURCES.items()]
        for number in range(arguments.first, arguments.first + arguments.count):
            path = make_mutant(number, arguments.seed, sources, folder)
            done, faults = worker.read(path, arguments.timeout)
            if not done:
                worker.stop()
                worker = Worker()
            for name in filter(lambda name: isinstance(name, str), done):
                outcomes[name, done[name]] += 1
                slowest[name] = max(slowest[name], done[name, "seconds"])
            if faults:
                faulty.append(path.name)
                print(f"{path.name}: {'; '.join(faults)}", flush=True)
                if arguments.keep:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, arguments.keep)
            path.unlink()
    worker.stop()
    print(f"{'':20} {'read':>6} {'refused':>8} {'error':>6} {'slowest, s':>11}")
    for name in slowest:
        counts = [outcomes[name, outcome] for outcome in ("read", "refused", "error")]
        print(f"{name:20} {counts[0]:6} {counts[1]:8} {counts[2]:6} {slowest[name]:11.2f}")
    print(f"{arguments.count} mutants of seed {arguments.seed}, {len(faulty)} with faults")


if __name__ == "__main__":
    main()
