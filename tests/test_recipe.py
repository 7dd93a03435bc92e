import json
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harkeras.recipe import Recipe, TrainingRecord, count_channels, read_channels

GOOD = {"classes": ("Fall", "Größe 走"), "frames": 20, "height": 64, "width": 48, "clip_seconds": 2.5}
POSE = {"height": None, "width": None, "streams": "pose", "joints": 15, "coordinates": 3}
RECORD = {
    "split": "group",
    "seed": 27,
    "test_size": 0.25,
    "sources": "the folder inside the class folder",
    "group_by": None,
    "level": 1,
    "train_groups": ("anna", "ben"),
    "test_groups": ("carl",),
    "train_clips": ("0a" * 16, "0b" * 16),
    "train_paths": ("Fall/anna/1", "Fall/ben/1"),
    "test_paths": ("Fall/carl/1",),
    "version": "0.1.0",
}

names = st.text(min_size=1, max_size=8)
counts = st.integers(1, 999)
no_flow = st.fixed_dictionaries(
    {"streams": st.sampled_from(["rgb", "gray"]), "height": counts, "width": counts}
)
flow = st.fixed_dictionaries(
    {
        "streams": st.sampled_from(["flow", "rgb+flow"]),
        "height": counts,
        "width": counts,
        "flow_fields": counts,
    }
)
pose = st.fixed_dictionaries(
    {
        "height": st.none(),
        "width": st.none(),
        "streams": st.just("pose"),
        "joints": counts,
        "coordinates": st.sampled_from([2, 3]),
    }
)
records = st.builds(
    TrainingRecord,
    split=st.sampled_from(["group", "random", "official", "none"]),
    seed=st.integers(),
    test_size=st.floats(0.01, 0.99),
    sources=names,
    group_by=st.none() | names,
    train_groups=st.lists(names),
    test_groups=st.lists(names),
    level=st.none() | st.integers(1, 5),
    train_clips=st.lists(names),
    train_paths=st.lists(names),
    test_paths=st.lists(names),
    version=names,
)


@st.composite
def recipes(draw):
    """Any recipe there can be."""
    shape = draw(no_flow | flow | pose)
    classes = draw(st.lists(names, min_size=2, max_size=5, unique=True))
    if shape["streams"] == "rgb":
        shape["channel_order"] = draw(st.sampled_from(["rgb", "bgr"]))
    if shape["streams"] in ("rgb", "gray"):
        shape["normalize"] = draw(st.booleans())
    return Recipe(
        classes,
        frames=draw(counts),
        **shape,
        clip_seconds=draw(st.floats(0.01, 1000)),
        interpolation=draw(st.sampled_from(["area", "bilinear"])),
        flow_method=draw(st.sampled_from(["dis", "farneback", "tvl1"])),
        temperature=draw(st.floats(0.05, 20)),
        thresholds=draw(st.dictionaries(st.sampled_from(classes), st.floats(0.01, 1))),
        training=draw(st.none() | records),
    )


@given(recipes())
@settings(max_examples=60, deadline=None)
def test_json_and_back(recipe):
    back = Recipe.from_json(recipe.to_json())
    assert back == recipe
    assert hash(back) == hash(recipe)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = [each.name for each in fields(Recipe)] + ["format", "channels", "other"]


@given(
    recipes(),
    st.dictionaries(st.sampled_from(KEYS), any_json, max_size=2),
    st.dictionaries(
        st.sampled_from(["split", "level", "train_groups", "test_paths", "x"]), any_json, max_size=1
    ),
    st.sets(st.sampled_from(KEYS), max_size=1),
)
@settings(max_examples=60, deadline=None)
def test_json_that_somebody_changed_is_a_recipe_or_a_value_error(recipe, changed, in_training, left_out):
    values = json.loads(recipe.to_json()) | changed
    if isinstance(values["training"], dict):
        values["training"] |= in_training
    text = json.dumps({name: value for name, value in values.items() if name not in left_out})
    try:
        read = Recipe.from_json(text)
    except ValueError:
        return
    assert Recipe.from_json(read.to_json()) == read


@given(st.text(max_size=20) | any_json.map(json.dumps))
@settings(max_examples=60, deadline=None)
def test_any_other_text_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"the recipe (is not JSON|lacks|holds|has format version)|must be"):
        Recipe.from_json(text)


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ({"normalize": True, "channel_order": "bgr"}, (20, 64, 48, 3)),
        ({"streams": "gray"}, (20, 64, 48, 1)),
        ({"streams": "flow", "flow_fields": 10}, (20, 64, 48, 20)),
        ({"streams": "rgb+flow", "flow_fields": 1}, (20, 64, 48, 5)),
        (POSE, (20, 15, 3)),
    ],
)
def test_streams_say_the_shape_of_a_clip(values, shape):
    recipe = Recipe(**GOOD | values)
    assert recipe.clip_shape == shape
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("channels", "streams", "flow_fields"),
    [(3, "rgb", 0), (2, "flow", 1), (20, "flow", 10), (7, "rgb+flow", 2)],
)
def test_recipes_of_version_1_open(channels, streams, flow_fields):
    old = GOOD | {"channels": channels, "temperature": 1.5, "thresholds": {"Fall": 0.3}, "flow_method": "dis"}
    recipe = Recipe.from_json(json.dumps(old | {"normalize": False, "channel_order": "rgb"}))
    assert (recipe.streams, recipe.flow_fields) == (streams, flow_fields)
    assert recipe.clip_shape[3] == channels
    assert (recipe.temperature, recipe.thresholds) == (1.5, {"Fall": 0.3})
    assert recipe.training is None


def test_channels_and_back():
    for channels in range(1, 40):
        assert count_channels(*read_channels(channels)) == channels
    with pytest.raises(ValueError, match=r"channels must be 1 .gray., 3 .RGB., 2L"):
        read_channels(0)
    with pytest.raises(ValueError, match=r"streams must be 'rgb', 'gray', 'flow' or 'rgb.flow', got 'pose'"):
        count_channels("pose")
    with pytest.raises(ValueError, match="flow_fields must be an integer of at least 1, got 0"):
        count_channels("flow", 0)


def test_defaults():
    assert (Recipe(**GOOD).normalize, Recipe(**GOOD).channel_order) == (False, "rgb")
    assert (Recipe(**GOOD).streams, Recipe(**GOOD).interpolation) == ("rgb", "area")


def test_numpy_numbers_become_plain_ones():
    recipe = Recipe(**GOOD | {"frames": np.int64(20), "clip_seconds": np.float32(2.5), "classes": ["a", "b"]})
    assert json.loads(recipe.to_json()) == json.loads(Recipe(**GOOD | {"classes": ("a", "b")}).to_json())


BAD = [
    ({"classes": ("a",)}, "classes must be at least two different names, got .*a"),
    ({"classes": ("a", "a")}, "classes must be at least two different names"),
    ({"classes": "ab"}, "classes must be at least two different names, got 'ab'"),
    ({"classes": 5}, "classes must be at least two different names, got 5"),
    ({"classes": None}, "classes must be at least two different names, got None"),
    ({"classes": [["a"], ["b"]]}, "classes must be at least two different names, got"),
    ({"frames": 0}, "frames must be an integer of at least 1, got 0"),
    ({"frames": None}, "frames must be an integer of at least 1, got None"),
    ({"frames": True}, "frames must be an integer of at least 1, got True"),
    ({"height": 1.5}, "height must be an integer of at least 1, got 1.5"),
    ({"width": "64"}, "width must be an integer of at least 1, got '64'"),
    ({"width": None}, "width must be an integer of at least 1, got None"),
    ({"clip_seconds": 0}, "clip_seconds must be a positive number, got 0"),
    ({"clip_seconds": float("nan")}, "clip_seconds must be a positive number, got nan"),
    ({"clip_seconds": float("inf")}, "clip_seconds must be a positive number, got inf"),
    ({"clip_seconds": "4"}, "clip_seconds must be a positive number, got '4'"),
    ({"temperature": [1]}, r"temperature must be a positive number, got \[1\]"),
    ({"channel_order": "RGB"}, "channel_order must be one of 'rgb', 'bgr', got 'RGB'"),
    ({"normalize": "no"}, "normalize must be true or false, got 'no'"),
    ({"streams": 3}, "streams must be one of 'rgb', 'gray', .*, got 3"),
    ({"streams": "flow"}, "flow_fields must be an integer of at least 1, got 0"),
    ({"flow_fields": 2}, "flow_fields must be 0 for streams 'rgb', got 2"),
    ({"flow_method": {}}, "flow_method must be one of 'dis', .*got {}"),
    ({"streams": "gray", "channel_order": "bgr"}, "normalize and channel_order are for streams 'rgb'"),
    ({"streams": "pose"}, "joints must be an integer of at least 1, got None"),
    (POSE | {"height": 12}, "height must be None for streams 'pose', got 12"),
    (POSE | {"coordinates": 5}, "coordinates must be 2 or 3, got 5"),
    ({"subject": "faces"}, "subject must be one of 'frame', 'people', 'frame.people', 'person', got 'faces'"),
    (POSE | {"subject": "people"}, "subject 'people' is for streams 'rgb', got 'pose'"),
    (
        {"subject": "frame+people", "width": 64},
        "height and width must differ for subject 'frame.people', got 64 and 64",
    ),
    ({"joints": 15}, "joints must be None for streams 'rgb', got 15"),
    ({"interpolation": "cubic"}, "interpolation must be one of 'area', 'bilinear', got 'cubic'"),
    ({"thresholds": []}, r"thresholds must map classes to numbers over 0 and up to 1, got \[\]"),
    ({"thresholds": {"Fall": "1"}}, "thresholds must map classes"),
    ({"thresholds": {"other": 0.5}}, "thresholds must map classes"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**GOOD | values)
    if all(not isinstance(value, float) for value in values.values()):
        with pytest.raises(ValueError, match=message):
            Recipe.from_json(json.dumps({"format": 2} | GOOD | values))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "the recipe is not JSON that harkeras wrote .*'no json'"),
        ("[1]", "the recipe is not JSON that harkeras wrote"),
        ("[" * 100_000, "the recipe is not JSON that harkeras wrote"),
        (json.dumps({"format": 2} | GOOD | {"flow": 1}), r"the recipe holds \['flow'\], which this version"),
        (
            json.dumps({"classes": ["a", "b"]}),
            r"the recipe lacks \['frames', 'height', 'width', 'clip_seconds'\]",
        ),
        (json.dumps(GOOD | {"channels": "3"}), "channels must be an integer of at least 1, got '3'"),
        (json.dumps({"format": 3} | GOOD), "format version 3; this version of harkeras reads up to 2"),
        (
            json.dumps({"format": 2} | GOOD | {"training": 3}),
            "the recipe's training must be a JSON object, got 3",
        ),
        (json.dumps({"format": 2} | GOOD | {"training": {}}), r"the recipe's training lacks \['split'"),
        (
            json.dumps({"format": 2} | GOOD | {"training": RECORD | {"train_clips": 3}}),
            "training.train_clips must be names, got 3",
        ),
        (
            json.dumps({"format": 2} | GOOD | {"training": RECORD | {"split": "best"}}),
            "training.split must be one of 'group', 'random', 'official', 'none', got 'best'",
        ),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_json(text)


@pytest.mark.parametrize("changed", [{"seed": []}, {"test_size": "a"}, {"group_by": {}}, {"version": 3}])
def test_bad_values_in_the_record_of_a_training(changed):
    with pytest.raises(ValueError, match=f"training.{next(iter(changed))} must be"):
        Recipe.from_json(json.dumps({"format": 2} | GOOD | {"training": RECORD | changed}))
