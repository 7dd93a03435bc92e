"""Time and memory of `create_dataset` against the data set function of the tutorials.

    python tests/benchmarks/create_dataset.py [folder of classes]

Each way runs in a process of its own. Memory is the peak of the process minus its peak after the imports. The
seconds of all cores together ("CPU") tell more than those on the clock where the machine is busy.
"""

import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "surveillance_fights"
FRAMES, SIZE = 20, 64


def tutorial(data_dir):
    """Seek to each frame, and keep float64 frames in lists: as the tutorials do it."""
    import cv2
    import numpy as np

    yield  # the imports are done

    def frames_extraction(video_path):
        frames = []
        reader = cv2.VideoCapture(str(video_path))
        frame_count = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
        skip = max(frame_count // FRAMES, 1)
        for k in range(FRAMES):
            reader.set(cv2.CAP_PROP_POS_FRAMES, k * skip)
            success, frame = reader.read()
            if not success:
                break
            frames.append(cv2.resize(frame, (SIZE, SIZE)) / 255)
        reader.release()
        return frames

    features, labels = [], []
    for label, folder in enumerate(sorted(path for path in data_dir.iterdir() if path.is_dir())):
        for path in sorted(folder.iterdir()):
            frames = frames_extraction(path)
            if len(frames) == FRAMES:
                features.append(frames)
                labels.append(label)
    yield np.asarray(features), np.array(labels)


def harkeras(data_dir):
    """Decode each clip once, on all cores, into one uint8 array."""
    from harkeras import create_dataset

    yield
    dataset = create_dataset(data_dir, frames=FRAMES, height=SIZE, width=SIZE)
    yield dataset.features, dataset.labels


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(name, data_dir):
    """Run one way in this process, and print what it took as JSON."""
    warnings.simplefilter("ignore")
    steps = {"tutorial": tutorial, "harkeras": harkeras}[name](data_dir)
    next(steps)
    memory, start, cpu = peak_bytes(), time.perf_counter(), time.process_time()
    features, _ = next(steps)
    result = {
        "clips": len(features),
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "bytes": peak_bytes() - memory,
    }
    print(json.dumps(result))


def main(data_dir):
    results = {}
    print(f"{'':<10} {'clips':>6} {'seconds':>9} {'CPU':>9} {'peak MB':>9}")
    for name in ("tutorial", "harkeras"):
        command = [sys.executable, __file__, str(data_dir), name]
        environment = {"PYTHONPATH": str(ROOT)}
        run = subprocess.run(
            command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        results[name] = result = json.loads(run.stdout.splitlines()[-1])
        seconds, cpu, peak = result["seconds"], result["cpu"], result["bytes"] / 1e6
        print(f"{name:<10} {result['clips']:>6} {seconds:>9.2f} {cpu:>9.2f} {peak:>9.0f}", flush=True)
    before, now = results["tutorial"], results["harkeras"]
    faster, less, smaller = (before[key] / now[key] for key in ("seconds", "cpu", "bytes"))
    print(f"{'ratio':<10} {'':>6} {faster:>8.1f}x {less:>8.1f}x {smaller:>8.1f}x")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    if len(sys.argv) > 2:
        measure(sys.argv[2], folder)
    else:
        main(folder)
