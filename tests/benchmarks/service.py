"""Serve a model to many clients at once: videos per second, how long each waits, and what memory it takes.

    HARKERAS_ASSETS=../shared/models python tests/benchmarks/service.py [folder of real clips]

200 clips, by default of ../shared/data/surveillance_fights, are sent by 16 clients, each of which sends its
next one when the last is answered. The services run in processes of their own, on loopback, on the same cores
as the clients; each has one model, and they take turns: one answers each request by itself, the other
computes together what several ask for at the same time. "CPU" is what a video takes of both cores together
in the service, which a busy machine changes less. LRCN, and a head on MobileNetV2 (alpha 0.35, 96 pixels). A
check compares answers with `predict_single_action`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

CLASSES = ("Fight", "Fall", "Run", "Walk")
CLIENTS, CLIPS, ROUNDS, CHECKED = 16, 200, 2, 10
TOGETHER = {"one by one": 1, "together": 16}
BACKBONE_WEIGHTS = "mobilenet_v2_0.35_96_no_top_from_drq.weights.h5"


def build(name):
    """Build a model with the same weights each time; those of a head are random, which take as long."""
    import keras

    from harkeras.models import create_lrcn_model
    from harkeras.recipe import Recipe
    from harkeras.transfer import create_head, frame_encoder
    from harkeras.transfer.heads import join

    keras.utils.set_random_seed(27)
    if name == "LRCN":
        model, recipe = create_lrcn_model(len(CLASSES)), Recipe(CLASSES, 20, 64, 64, 2.0)
    else:
        weights = Path(os.environ.get("HARKERAS_ASSETS", "")) / BACKBONE_WEIGHTS
        encoder = frame_encoder(
            "mobilenet_v2_0.35", (96, 96, 3), weights=weights if weights.is_file() else None, parts=("last",)
        )
        head = create_head("mean_std_diff", len(CLASSES), (16, encoder.output_shape[-1]))
        model, recipe = join(encoder, head), Recipe(CLASSES, 16, 96, 96, 2.0)
    model.recipe = recipe
    return model


def serve(name, most_together):
    """Serve a model, and print the port."""
    from harkeras.deploy import create_service, run_service

    app = create_service(build(name), most_together=most_together)
    run_service(app, port=0, on_ready=lambda address: print(address, flush=True))


class Service:
    """A service in a process of its own."""

    def __init__(self, name, most_together):
        command = [sys.executable, __file__, "--serve", name, "--together", str(most_together)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()

    def ask(self, video):
        """Send a video; return its answer and the seconds that it took."""
        boundary = b"--clip"
        head = boundary + b'\r\nContent-Disposition: form-data; name="video"; filename="clip"\r\n\r\n'
        body = head + video.read_bytes() + b"\r\n" + boundary + b"--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=clip"}
        began = time.perf_counter()
        request = urllib.request.Request(f"{self.address}/predict?mode=single", body, kind)
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
        return answer, time.perf_counter() - began

    def cpu_seconds(self):
        """Return what the process has computed."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self):
        """Return the memory that the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def batches(self):
        """Return how many questions a call of the model has answered, on average."""
        with urllib.request.urlopen(f"{self.address}/metrics") as response:
            lines = dict(
                line.rsplit(" ", 1) for line in response.read().decode().splitlines() if line[0] != "#"
            )
        return float(lines["harkeras_batch_size_sum"]) / float(lines["harkeras_batch_size_count"])

    def end(self):
        """End it; return its exit status."""
        self.process.terminate()
        return self.process.wait(60)


def measure(service, videos):
    """Send all videos by all clients; return videos per second, CPU and other seconds, errors."""

    def ask(video):
        try:
            return service.ask(video)[1]
        except OSError as error:
            print(f"{video.name}: {error}", file=sys.stderr)
            return None

    began, cpu = time.perf_counter(), service.cpu_seconds()
    with ThreadPoolExecutor(CLIENTS) as clients:
        seconds = list(clients.map(ask, videos))
    took = time.perf_counter() - began
    cpu, errors = service.cpu_seconds() - cpu, seconds.count(None)
    return len(videos) / took, cpu / len(videos), [each for each in seconds if each is not None], errors


def compare(name, videos):
    """Print a row for each way to compute."""
    from harkeras.inference import predict_single_action

    model, services = build(name), {words: Service(name, most) for words, most in TOGETHER.items()}
    for video in videos[:CHECKED]:
        expected = predict_single_action(video, model).probabilities
        for service in services.values():
            answer = service.ask(video)[0]["probabilities"]
            np.testing.assert_allclose(list(answer.values()), list(expected.values()), atol=1e-5)
    rounds = {words: [] for words in services}
    for service in services.values():
        measure(service, videos)  # all that is made once is made
    before = {words: service.megabytes() for words, service in services.items()}
    for number in range(ROUNDS):
        for words, service in [*services.items()][:: -1 if number % 2 else 1]:
            rounds[words].append(measure(service, videos))
    for words, service in services.items():
        rates = [rate for rate, *_ in rounds[words]]
        seconds = np.concatenate([each for *_, each, _ in rounds[words]])
        p50, p99 = 1000 * np.quantile(seconds, [0.5, 0.99])
        errors = sum(count for *_, count in rounds[words])
        cpu = 1000 * np.median([each for _, each, *_ in rounds[words]])
        row = f"{name:<6} {words:<11} {np.median(rates):>6.1f} ({min(rates):.1f} to {max(rates):.1f})"
        row += f" {cpu:>7.1f} {p50:>8.0f} {p99:>8.0f} {errors:>7} {service.batches():>6.1f}"
        row += f" {before[words]:>10.0f} {service.megabytes():>9.0f}"
        print(f"{row} {service.end():>5}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "data", nargs="?", type=Path, default=ROOT.parent / "shared" / "data" / "surveillance_fights"
    )
    parser.add_argument("--models", nargs="+", default=["LRCN", "head"], help="LRCN, head or both")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--together", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.together)
        return
    videos = sorted(options.data.rglob("*.mp4"))[:CLIPS]
    print(f"{len(videos)} videos by {CLIENTS} clients, {ROUNDS} times after the first")
    print(
        "model  computed    videos/s         CPU ms   p50 ms   p99 ms  errors  batch  MB before  MB after  "
        "exit"
    )
    for name in options.models:
        compare(name, videos)


if __name__ == "__main__":
    main()
