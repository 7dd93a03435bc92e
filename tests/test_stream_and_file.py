"""What is said of a recording while it is watched is what is said of the file, by models of all families."""

import gc
import tracemalloc
from datetime import UTC, datetime, timedelta

import keras
import numpy as np
import pytest
from conftest import encode_video
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from test_models import CASES, build_small

from harkeras.inference import ActionStream, predict_on_video
from harkeras.inference.decisions import Decider
from harkeras.inference.events import EventRules
from harkeras.models import create_movinet_model, create_movinet_stream_model
from harkeras.people.clips import create_view
from harkeras.recipe import Recipe, read_channels
from harkeras.transfer.heads import create_head, join
from harkeras.video.reading import iter_decoded

CLASSES = ("a", "b", "c")
STRIDE_SECONDS = 0.23


def find_points(image):
    """Five joints that tell one picture from another."""
    rows = np.array_split(np.arange(image.shape[0]), 5)
    return np.array([(image[band].mean(), 9 * i, 1.0) for i, band in enumerate(rows)])


def head_on_a_backbone():
    encoder = keras.Sequential(
        [
            keras.Input((24, 26, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(6, 5, 4),
            layers.GlobalMaxPooling2D(),
        ],
        name="encoder",
    )
    return join(encoder, create_head("mean_std_diff", 3, (4, 6)))


def one_frame_per_clip():
    """A network of still images that was given clips of one frame."""
    clip = keras.Input((1, 24, 26, 3))
    x = layers.Conv2D(6, 5, 4)(layers.Reshape((24, 26, 3))(layers.Rescaling(1 / 255)(clip)))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(clip, layers.Dense(3, activation="softmax")(x))


def stream_of_movinet():
    options = {"width_multiplier": 0.1}
    stream = create_movinet_stream_model(3, (None, 24, 26, 3), **options)
    stream.set_weights(create_movinet_model(3, (3, 24, 26, 3), causal=True, **options).get_weights())
    return stream


OTHERS = {
    "head on a backbone": head_on_a_backbone,
    "one frame per clip": one_frame_per_clip,
    "stream of movinet": stream_of_movinet,
}


def recipe_of(model, name):
    if name == "stream of movinet":
        return Recipe(CLASSES, 3, 24, 26, 1.0)
    shape = model.input_shape[1:]
    if name == "pose_lstm":
        return Recipe(CLASSES, shape[0], None, None, 1.0, streams="pose", joints=5, coordinates=3)
    streams, fields = read_channels(shape[-1])
    return Recipe(CLASSES, *shape[:3], 1.0, streams=streams, flow_fields=fields)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return encode_video(tmp_path_factory.mktemp("video") / "clip.mp4", range(10, 130, 2))


# One of each way through the engine is quick; their relatives take it as well.
QUICK = ("lrcn", "convlstm", "c3d", "two_stream", "pose_lstm", "video_transformer", *OTHERS)
MODELS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in (*CASES, *OTHERS)]


@pytest.fixture(scope="module", params=MODELS)
def watched(request, video):
    """A model, its recipe, what it is shown of each frame, and what is said of the file."""
    name = request.param
    keras.utils.set_random_seed(4)
    model = OTHERS[name]() if name in OTHERS else build_small(CASES[name])
    model.recipe = recipe = recipe_of(model, name)
    view = create_view(recipe.clip_format, find_points)
    images, seconds = [], []
    for index, frame in enumerate(iter_decoded(video)):
        images.append(view.read(frame, index, True))
        seconds.append(frame.seconds)
    options = {"causal": True, "stride_seconds": STRIDE_SECONDS, "estimator": find_points}
    prediction = predict_on_video(video, model, **options, progress=False)
    spread = np.ptp(prediction.probabilities, axis=0).max()
    if spread < 0.01:  # random weights tell frames hardly apart: make the last layer say what it sees louder
        kernel = [w for layer in model.layers[-3:] for w in layer.weights if w.path.endswith("kernel")][-1]
        kernel.assign(kernel * (0.1 / spread))
        prediction = predict_on_video(video, model, **options, progress=False)
    return model, recipe, np.stack(images), np.array(seconds), prediction


@settings(max_examples=4, deadline=None)
@given(chunks=st.lists(st.integers(1, 30), max_size=60), one_by_one=st.booleans())
def test_stream_and_file_agree(watched, chunks, one_by_one):
    model, recipe, images, seconds, prediction = watched
    stream = ActionStream(model, recipe, stride_seconds=STRIDE_SECONDS)
    decider = Decider(CLASSES, STRIDE_SECONDS)
    windows, smoothed, first = [], [], 0
    lengths = iter(() if one_by_one else chunks)
    while first < len(images):
        block = slice(first, first + next(lengths, 1))
        windows += stream.push(images[block], seconds[block])
        first = block.stop
    windows += stream.finish(len(images) / 25)
    for window in windows:
        decider.update(window)
        smoothed.append(decider.smoothed)
    np.testing.assert_allclose([window[:2] for window in windows], prediction.windows, atol=1e-9)
    probabilities = np.stack([window.probabilities for window in windows])
    np.testing.assert_allclose(probabilities, prediction.probabilities, atol=1e-5)
    np.testing.assert_allclose(smoothed, prediction.smoothed, atol=1e-5)
    assert len(windows) == 7
    assert np.ptp(probabilities, axis=0).max() > 1e-3  # what is compared does depend on the frames


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "chunk", "minutes"), [("split", 1, 120), ("whole", 30, 120), ("memory", 30, 120)]
)
def test_two_hours_at_30_frames_per_second_in_constant_memory(kind, chunk, minutes):
    """Frames, windows, decisions and events: what is kept after an hour is what is kept after a minute."""
    frame = (4, 4, 3)
    clip = keras.Input((3, *frame))
    if kind == "memory":
        model = create_movinet_stream_model(3, (None, 32, 32, 3), width_multiplier=0.1)
        frame = (32, 32, 3)
    elif kind == "split":
        x = layers.TimeDistributed(layers.Dense(2))(layers.Reshape((3, 48))(clip))
        model = keras.Model(clip, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))
    else:
        model = keras.Model(clip, layers.Dense(3, activation="softmax")(layers.Flatten()(clip)))
    recipe = Recipe(CLASSES, 3, *frame[:2], 1.0)
    stream = ActionStream(model, recipe, stride_seconds=0.5)
    decider = Decider(CLASSES, 0.5, threshold=0)
    rules = EventRules(classes=CLASSES, on_seconds=1.0, off_seconds=1.0)
    rng, start = np.random.default_rng(0), datetime(2026, 1, 1, tzinfo=UTC)
    blocks = [np.full((chunk, *frame), value, np.uint8) for value in rng.integers(0, 256, 97)]
    events = windows = 0

    def run(first, stop):
        nonlocal events, windows
        for i in range(first, stop, chunk):
            for window in stream.push(blocks[i // 300 % len(blocks)], np.arange(i, i + chunk) / 30):
                windows += 1
                label, confidence = decider.update(window), float(decider.smoothed.max())
                time = start + timedelta(seconds=window.end_seconds)
                events += len(rules.update(label, confidence, window.end_seconds, time))

    minute = 60 * 30
    run(0, 10 * minute)
    gc.collect()
    tracemalloc.start()
    try:
        run(10 * minute, 11 * minute)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        run(11 * minute, minutes * minute)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert windows == 120 * minutes - 2
    assert events > 0
    assert grown < 100_000
