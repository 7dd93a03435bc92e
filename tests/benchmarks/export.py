"""Export models to every format: size, difference from Keras on real clips, and time against compiled Keras.

    python tests/benchmarks/export.py [model ...] [--small] [--rounds 9]

Clips come from ../shared/data: the middle of each of the five videos, and five actions of JHMDB as joints.
LRCN is trained first, on rendered clips (see `--epochs`), and scored in every format on rendered people and
places that it has not seen. The head on MobileNetV2 has ImageNet's weights below, from ../shared/models, and
random ones above; all other weights are random, which changes neither size nor time, but makes probabilities
of all clips alike: "of it" is the largest difference as a share of how far the clips themselves are apart.
`--small` takes C3D, I3D and ResNeXt smaller than published.

A call is one clip, from bytes to probabilities. "Keras" is the same model as one compiled function
(`tf.function` of settled types), with what the recipe says inside, as in the exports. In each round every
format and Keras have their turn; times are medians of the rounds, and the last columns are the median, with
the lowest and the highest, of the ratios within a round. "CPU" is the time of all cores together. Each model
has a process of its own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from pose_lstm import read_skeletons, resample  # noqa: E402

import harkeras  # noqa: E402
from harkeras.deploy import export_model  # noqa: E402
from harkeras.inference import ActionStream  # noqa: E402
from harkeras.inference.exported import ExportedModel  # noqa: E402
from harkeras.inference.recipe_network import with_recipe  # noqa: E402
from harkeras.inference.runtimes import KerasNetwork  # noqa: E402
from harkeras.models import create_model, create_movinet_stream_model  # noqa: E402
from harkeras.models.movinet import is_stream_model  # noqa: E402
from harkeras.people.clips import read_clip  # noqa: E402
from harkeras.recipe import Recipe  # noqa: E402
from harkeras.transfer import create_head, frame_encoder  # noqa: E402
from harkeras.transfer.heads import join  # noqa: E402
from harkeras.video.reading import VideoInfo  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
BACKBONE_WEIGHTS = "mobilenet_v2_0.35_96_no_top_from_drq.weights.h5"
CLASSES = ("Falling", "Running", "SittingDown", "Walking")
FORMATS = {
    "onnx": ("m.onnx", {}),
    "litert": ("m.tflite", {}),
    "litert float16": ("m16.tflite", {"precision": "float16"}),
    "litert int8": ("m8.tflite", {"precision": "int8"}),
    "saved_model": ("served", {"format": "saved_model"}),
}
SEED, CLIPS = 27, 5


def head_on_mobilenet():
    weights = ROOT.parent / "shared" / "models" / BACKBONE_WEIGHTS
    encoder = frame_encoder("mobilenet_v2_0.35", (96, 96, 3), weights=weights)
    return join(encoder, create_head("mean_std_diff", len(CLASSES), (16, encoder.output_shape[-1])))


def of_size(name, small_shape, **small_options):
    """Return a builder of a model at its published size, or small."""

    def build(small):
        count = len(CLASSES)
        return create_model(name, count, small_shape, **small_options) if small else create_model(name, count)

    return build


MODELS = {
    "lrcn": None,
    "convlstm": of_size("convlstm", (20, 64, 64, 3)),
    "mobilenet_v2 head": lambda small: head_on_mobilenet(),
    "pose_lstm": of_size("pose_lstm", (32, 15, 2)),
    "movinet stream": lambda small: create_movinet_stream_model(len(CLASSES), (1, 172, 172, 3)),
    "c3d": of_size("c3d", (16, 112, 112, 3), width_multiplier=0.25),
    "i3d": of_size("i3d", (16, 112, 112, 3), width_multiplier=0.5),
    "resnext3d": of_size("resnext3d", (16, 64, 64, 3), depth=50),
}


def make_recipe(model):
    if is_stream_model(model):
        return Recipe(CLASSES, 16, *model.input["clip"].shape[2:4], 2.0)
    if len(model.input_shape) == 4:
        frames, joints, coordinates = model.input_shape[1:]
        return Recipe(
            CLASSES, frames, None, None, 2.0, streams="pose", joints=joints, coordinates=coordinates
        )
    return Recipe(CLASSES, *model.input_shape[1:4], 2.0)


def read_clips(recipe):
    if recipe.streams == "pose":
        skeletons = read_skeletons(DATA / "jhmdb_skeletons.npz")[0][:: 609 // CLIPS][:CLIPS]
        return np.stack([resample(clip) for clip in skeletons]).astype(np.float32)
    clips = []
    for video in sorted((DATA / "videos").glob("*.mp4"))[:CLIPS]:
        middle = VideoInfo.read(video).duration_seconds / 2
        clips.append(
            read_clip(video, recipe.clip_format, start_seconds=max(middle - 1, 0), end_seconds=middle + 1)
        )
    return np.stack(clips)


def caller(model):
    """Return a function of one clip."""
    if isinstance(model, ExportedModel) or is_stream_model(model):
        return ActionStream(model, model.recipe).classify
    network = KerasNetwork(with_recipe(model, model.recipe), model.recipe)
    (name,) = network.inputs
    return lambda clip: network.run({name: clip})


def take_turns(calls, clips, rounds):
    """Return milliseconds and CPU milliseconds, (rounds, calls)."""
    took = np.empty((2, rounds, len(calls)))
    for call in calls:
        call(clips[:1])
    for turn in range(rounds):
        clip = clips[turn % len(clips)][None]
        for row, call in enumerate(calls):
            begin, cpu = time.perf_counter(), time.process_time()
            call(clip)
            took[:, turn, row] = time.perf_counter() - begin, time.process_time() - cpu
    return 1000 * took


def train_lrcn(folder, groups, epochs):
    """Return LRCN, trained on rendered clips, and the test set."""
    data = harkeras.create_sample_dataset(folder, classes=CLASSES, groups=groups)
    train_set, test_set = harkeras.create_dataset(data, frames=20, height=64, width=64).split(seed=SEED)
    model = harkeras.create_lrcn_model(len(train_set.classes))
    harkeras.train(model, train_set, epochs=epochs, batch_size=8, seed=SEED, verbose=False)
    return model, test_set


def score(model, test_set):
    """Return the accuracy on a test set, in percent."""
    stream = ActionStream(model, model.recipe)
    rows = range(len(test_set))
    right = [
        stream.classify(np.asarray(test_set.features[row])[None])[0].argmax() == test_set.labels[row]
        for row in rows
    ]
    return 100 * float(np.mean(right))


def measure(name, arguments):
    """Print the rows of one model."""
    keras.utils.set_random_seed(SEED)
    test_set = None
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if name == "lrcn":
            model, test_set = train_lrcn(folder / "rendered", arguments.groups, arguments.epochs)
        else:
            model = MODELS[name](arguments.small)
            model.recipe = make_recipe(model)
        clips = read_clips(model.recipe)
        keras_call = caller(model)
        answers = ActionStream(model, model.recipe).classify(clips)
        apart = float(np.ptp(answers, axis=0).max())
        shape = " x ".join(map(str, model.recipe.clip_shape))
        print(f"{name}, {shape}, {model.count_params():,} weights, clips {apart:.1e} apart", flush=True)
        if test_set is not None:
            print(f"  of {len(test_set)} rendered clips Keras names {score(model, test_set):.1f} % right")
        exported, calls, why = {}, [keras_call], {}
        for format, (file, options) in FORMATS.items():
            try:
                exported[format] = export_model(model, folder / file, clips=clips, **options)
                calls.append(caller(ExportedModel(folder / file)))
            except ValueError as error:
                why[format] = str(error)
        wall, cpu = take_turns(calls, clips, arguments.rounds)
        print(
            f"  {'Keras, compiled':<15}{'':32}{np.median(wall[:, 0]):9.2f} ms{np.median(cpu[:, 0]):9.2f} CPU"
        )
        for row, (format, export) in enumerate(exported.items(), 1):
            ratios = wall[:, 0] / wall[:, row]
            print(
                f"  {format:<15}{export.size_bytes / 1e6:8.2f} MB {export.largest_difference:9.1e}"
                f" {export.largest_difference / apart:9.1e} of it{np.median(wall[:, row]):9.2f} ms"
                f"{np.median(cpu[:, row]):9.2f} CPU{np.median(ratios):7.1f} x"
                f" ({ratios.min():.1f} to {ratios.max():.1f}), CPU {np.median(cpu[:, 0] / cpu[:, row]):.1f} x"
            )
            if test_set is not None:
                print(f"{'':18}{score(ExportedModel(export.path), test_set):.1f} % right")
        for format, reason in why.items():
            print(f"  {format:<15}{reason}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="model")
    parser.add_argument("--small", action="store_true", help="C3D, I3D and ResNeXt smaller than published")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--groups", type=int, default=16, help="of the rendered clips that LRCN learns from")
    parser.add_argument("--epochs", type=int, default=30, help="of LRCN's training")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for name in arguments.models:
        if arguments.here:
            measure(name, arguments)
            continue
        options = [f"--{each}={getattr(arguments, each)}" for each in ("rounds", "groups", "epochs")]
        options += ["--small"] * arguments.small
        subprocess.run([sys.executable, __file__, name, "--here", *options], check=False)


if __name__ == "__main__":
    main()
