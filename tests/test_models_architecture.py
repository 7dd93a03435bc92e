import keras
import matplotlib.text
import numpy as np
import pytest
from keras import layers

from harkeras.models import (
    create_c3d_model,
    create_lrcn_model,
    create_model,
    create_movinet_stream_model,
    create_two_stream_model,
    create_video_transformer_model,
    list_models,
    plot_architecture,
)
from harkeras.models._folding import fold
from harkeras.models.registry import no_weights


def by_name(model):
    return {box.name: box for box in fold(model)}


@pytest.mark.parametrize("name", [*list_models(), *list_models("images")])
def test_every_model_is_folded_into_few_boxes(name):
    """All of its weights are in them, and every box but the input takes from one before it."""
    with no_weights():
        model = create_model(name, 5)
    boxes = fold(model)
    assert sum(box.weights for box in boxes) == model.count_params()
    assert max(box.column for box in boxes) <= 21  # MobileNetV2 has 17 blocks, and each is one
    for box in boxes:
        assert all(source.column < box.column for source in box.sources)
        assert bool(box.sources) == (box.kind != "input")
    assert [box.shape for box in boxes if box.column == max(each.column for each in boxes)] == [(5,)]


def test_shapes_and_scope_of_lrcn():
    boxes = fold(create_lrcn_model(5, (10, 64, 64, 3)))
    assert [box.name for box in boxes] == [
        "clip",
        "conv1",
        "conv2",
        "conv3",
        "conv4",
        "lstm",
        "probabilities",
    ]
    assert [box.shape for box in boxes][:3] == [(10, 64, 64, 3), (10, 16, 16, 16), (10, 4, 4, 32)]
    assert boxes[1].lines == ["Conv2D 3 x 3", "max pool 4 x 4"]
    assert boxes[1].scope == ("frames: 10 frames, each alone",)
    assert boxes[5].scope == ()
    assert boxes[5].sources == {boxes[4]: (10, 64)}


def test_streams_stand_side_by_side():
    with no_weights():
        boxes = by_name(create_two_stream_model(5))
        first = [box for box in fold(create_two_stream_model(5)) if box.name == "conv1"]
    assert [box.column for box in first] == [1, 1]
    assert [list(box.sources.values()) for box in first] == [[(25, 224, 224, 3)], [(25, 224, 224, 20)]]
    assert len(boxes["average"].sources) == 2
    assert boxes["probabilities"].lines == ["mean"]  # over the frames


def test_blocks_are_one_box_each():
    boxes = by_name(create_video_transformer_model(5))
    assert boxes["space1"].lines == ["attention", "2 x dense"]
    assert boxes["space1"].kind == "attention"
    assert list(boxes["time1"].sources) == [boxes["time_positions"]]


def test_states_of_a_stream_are_not_drawn():
    boxes = fold(create_movinet_stream_model(5))
    assert [box.name for box in boxes if box.kind == "input"] == ["clip"]


def test_a_layer_that_is_called_twice_has_its_weights_once():
    clip = keras.Input((8, 3), name="clip")
    tower = keras.Sequential([layers.Input((8, 3)), layers.Dense(4), layers.Dense(4)], name="tower")
    join = layers.Concatenate(name="join")([tower(clip), tower(-clip)])
    boxes = fold(keras.Model(clip, join))
    assert [box.weights for box in boxes] == [0, 16, 20, 0, 0, 0]


def test_text_of_the_picture(tmp_path):
    figure = plot_architecture(create_lrcn_model(5, (10, 64, 64, 3)))
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    assert "lrcn: 73,093 weights" in texts
    assert {"conv1", "448", "10", "64×64\n3", "frames: 10 frames, each alone"} <= set(texts)  # noqa: RUF001
    figure.savefig(tmp_path / "lrcn.png")


def test_nothing_is_drawn_outside_or_on_top_of_each_other():
    with no_weights():
        figure = plot_architecture(create_c3d_model(5))
    assert max(figure.get_size_inches()) <= 12
    figure.canvas.draw()
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
    places = [text.get_window_extent() for text in texts]
    width, height = figure.canvas.get_width_height()
    for i, place in enumerate(places):
        assert place.x0 >= 0
        assert place.y0 >= 0
        assert place.x1 <= width
        assert place.y1 <= height
        overlapping = [other for other in places[:i] if np.all(_overlap(place, other) > 2)]  # pixels
        assert not overlapping, texts[i]


def _overlap(a, b):
    return np.minimum(a.max, b.max) - np.maximum(a.min, b.min)


@pytest.mark.parametrize("model", [keras.Sequential([layers.Dense(2)]), keras.Sequential(name="empty")])
def test_a_model_without_layers_to_list(model):
    with pytest.raises(
        ValueError, match=r"model must be a functional or sequential model that is built, got '\w+'"
    ):
        plot_architecture(model)
