"""Many videos by one process, by threads, by processes, by Dask and by Ray: time per clip, 1 and 2 workers.

The same clips go through LRCN (random weights: they cost the same) with each kind of worker, between two
runs of one process, because a busy machine changes meanwhile. A row tells how long it took until the first
result was there, with the workers' start, and the time per clip from then on, by the times of the files; of
one process also the processor time, which depends less on what else the machine does. In the end that is
carried over to 650,000 clips, with what they take on disk.

    python tests/benchmarks/clusters.py ../shared/data/surveillance_fights --clips 100
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import keras

import harkeras
from harkeras.cli.many import working
from harkeras.inference import predict_on_videos
from harkeras.recipe import Recipe

ROWS = (
    ("serial", None),
    ("threading", 2),
    ("loky", 2),
    ("dask", 1),
    ("dask", 2),
    ("ray", 2),
    ("serial", None),
)
MANY = 650_000
SHAPE = (20, 64, 64, 3)


def run(videos: list[Path], model: Path, backend: str, workers: int | None, folder: Path) -> list[float]:
    """Return the seconds to the first result, and per clip from then on: real, and of the processor here."""
    folder.mkdir()
    start = time.time()
    with working(backend, None, workers), ExitStack() as stack:
        results = predict_on_videos(videos, model, folder, progress=False)
        stack.callback(results.close)
        errors, processor = [next(results).error], time.process_time()
        errors += [result.error for result in results]
        processor = time.process_time() - processor
    assert not any(errors), errors
    times = sorted(path.stat().st_mtime for path in folder.rglob("*.json"))
    assert len(times) == len(videos)
    return [times[0] - start, (times[-1] - times[0]) / (len(times) - 1), processor / (len(times) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--only", nargs="*", help="kinds of workers to measure; all by default")
    arguments = parser.parse_args()
    logging.getLogger("distributed").setLevel(logging.ERROR)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found = sorted(arguments.data_dir.rglob("*.mp4"))
    videos = found[:: max(len(found) // arguments.clips, 1)][: arguments.clips]
    with tempfile.TemporaryDirectory() as work:
        model = harkeras.create_lrcn_model(2, SHAPE)
        model.recipe = Recipe(("Fight", "NoFight"), *SHAPE[:3], 2.0)
        path, costs, contents = Path(work, "lrcn.keras"), [], {}
        harkeras.save_model(model, path)
        keras.backend.clear_session()
        print(f"{len(videos)} clips, load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores")
        print(
            f"{'backend':10} {'workers':>7} {'first result':>13} {'ms per clip':>12} {'of the processor':>17}"
        )
        for number, (backend, workers) in enumerate(ROWS):
            if arguments.only and backend not in arguments.only:
                continue
            folder = Path(work, str(number))
            first, each, processor = run(videos, path, backend, workers, folder)
            row = f"{backend:10} {workers or 1:7} {first:11.1f} s {1000 * each:12.0f}"
            print(row + f"{1000 * processor:18.0f}" * (backend == "serial"), flush=True)
            costs += [processor] if backend == "serial" else []
            contents[backend] = {file.name: file.read_bytes() for file in folder.rglob("*.json")}
        assert all(each == contents["serial"] for each in contents.values()), "results differ"
        size = sum(map(len, contents["serial"].values())) / len(videos)
        each = min(costs)
        print(f"\n{MANY:,} clips at {1000 * each:.0f} ms: {MANY * each / 3600:.1f} hours of one core")
        print(f"their results, {size / 1e3:.1f} kB each: {MANY * size / 1e9:.1f} GB in {MANY:,} files")
        clip, features = 20 * 64 * 64 * 3, 16 * (576 + 1280) * 4
        print(f"clips of 20 x 64 x 64 pixels: {MANY * clip / 1e9:.0f} GB")
        print(f"features of 16 frames, mobilenet_v2, both depths: {MANY * features / 1e9:.0f} GB")


if __name__ == "__main__":
    main()
