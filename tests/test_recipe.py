import json

import numpy as np
import pytest

from harkeras.recipe import Recipe

GOOD = {"classes": ("Fall", "Größe 走"), "frames": 20, "height": 64, "width": 48, "clip_seconds": 2.5}


def test_json_and_back():
    recipe = Recipe(**GOOD, normalize=True, channel_order="bgr")
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_defaults():
    assert (Recipe(**GOOD).normalize, Recipe(**GOOD).channel_order) == (False, "rgb")


def test_numpy_numbers_become_plain_ones():
    recipe = Recipe(**GOOD | {"frames": np.int64(20), "clip_seconds": np.float32(2.5), "classes": ["a", "b"]})
    assert json.loads(recipe.to_json()) == json.loads(Recipe(**GOOD | {"classes": ("a", "b")}).to_json())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": ("a",)}, "classes must be at least two different names, got .*a"),
        ({"classes": ("a", "a")}, "classes must be at least two different names"),
        ({"classes": "ab"}, "classes must be at least two different names, got 'ab'"),
        ({"frames": 0}, "frames must be an integer of at least 1, got 0"),
        ({"height": 1.5}, "height must be an integer of at least 1, got 1.5"),
        ({"width": "64"}, "width must be an integer of at least 1, got '64'"),
        ({"clip_seconds": 0}, "clip_seconds must be a positive number, got 0"),
        ({"clip_seconds": float("nan")}, "clip_seconds must be a positive number, got nan"),
        ({"clip_seconds": float("inf")}, "clip_seconds must be a positive number, got inf"),
        ({"channel_order": "RGB"}, "channel_order must be 'rgb' or 'bgr', got 'RGB'"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**GOOD | values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "the recipe is not JSON that harkeras wrote .*'no json'"),
        ("[1]", "the recipe is not JSON that harkeras wrote"),
        (json.dumps(GOOD | {"flow": 1}), r"the recipe holds \['flow'\], which this version"),
        (
            json.dumps({"classes": ["a", "b"]}),
            r"the recipe lacks \['frames', 'height', 'width', 'clip_seconds'\]",
        ),
        (json.dumps(GOOD | {"frames": None}), "frames must be an integer of at least 1, got None"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_json(text)
