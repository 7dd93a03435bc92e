"""Time every registered model on one clip: forward, and forward with gradients, at its default input.

    python tests/benchmarks/models.py [model ...] [--small] [--rounds 3]

The columns "of LRCN" are ratios within the run, so that a busy machine does not matter much. `--small` times
the networks at 16 frames of 64 x 64 pixels (where they accept them) instead of at the papers' sizes, which
take long and much memory with gradients. A model runs as one compiled function; the median of the rounds
counts.
"""

import argparse
import gc
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from harkeras.models import count_multiply_adds, create_model, list_models  # noqa: E402

SMALL = {"early_fusion": 10, "slow_fusion": 18}
CHANNELS = {"two_stream": 23, "two_stream_i3d": 5}


def build(name, small):
    if name == "pose_lstm" or not small:
        return create_model(name, 4)
    return create_model(name, 4, (SMALL.get(name, 16), 64, 64, CHANNELS.get(name, 3)))


def milliseconds(function, rounds):
    function()  # traces
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def measure(model, rounds):
    clip = tf.constant(np.random.default_rng(0).integers(0, 256, (1, *model.input_shape[1:])), tf.float32)

    @tf.function
    def forward():
        return model(clip, training=False)

    @tf.function
    def learn():
        with tf.GradientTape() as tape:
            loss = -tf.math.log(model(clip, training=True)[0, 0])
        return tape.gradient(loss, model.trainable_variables)

    return milliseconds(forward, rounds), milliseconds(learn, rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", default=list_models())
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    reference = measure(build("lrcn", arguments.small), arguments.rounds)
    line = "{:<18} {:<18} {:>14} {:>11} {:>8} {:>16} {:>8}"
    head = ("model", "clip", "multiply-adds", "forward", "of LRCN", "with gradients", "of LRCN")
    print(line.format(*head))
    for name in arguments.models:
        model = build(name, arguments.small)
        forward, learn = measure(model, arguments.rounds)
        shape = "x".join(map(str, model.input_shape[1:]))
        print(
            line.format(
                name,
                shape,
                f"{count_multiply_adds(model) / 1e6:,.0f} M",
                f"{forward:,.1f} ms",
                f"{forward / reference[0]:.1f}x",
                f"{learn:,.1f} ms",
                f"{learn / reference[1]:.1f}x",
            ),
            flush=True,
        )
        del model
        keras.utils.clear_session()
        gc.collect()


if __name__ == "__main__":
    main()
