"""Two views of a clip in one picture, side by side, and an encoder for each of them."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import Model, layers


def side_by_side(encoders: Sequence[Model], names: Sequence[str]) -> Model:
    """Join encoders of two views that stand side by side in a frame, see `harkeras.people.everybody`.

    Args:
        encoders: What `frame_encoder` built, each with weights of its own afterwards; of equal height, or of
            equal width.
        names: A name for each view.

    Returns:
        `keras.Model`: frames (B, H, W, C), 0-255 -> features (B, F), those of one view behind those of the
        other. One encoder alone is copied.
    """
    copies = []
    for encoder in encoders:
        copies.append(keras.models.clone_model(encoder))
        copies[-1].set_weights(encoder.get_weights())
    if len(copies) == 1:
        return copies[0]
    shapes = [encoder.input_shape[1:] for encoder in copies]
    along = int(shapes[0][0] == shapes[1][0])  # the axis along which they stand
    ends = np.cumsum([0, *(shape[along] for shape in shapes)]).tolist()
    size = list(shapes[0])
    size[along] = ends[-1]
    frame, seen = keras.Input(size, name="frame"), []
    for i, (copy, name) in enumerate(zip(copies, names, strict=True)):
        copy.name = f"{name}_features"  # two layers of a model must not have one name
        place = slice(*ends[i : i + 2])
        seen.append(copy(frame[:, :, place] if along else frame[:, place]))
    return Model(frame, layers.Concatenate(name="views")(seen), name="_".join([*names, "features"]))


def list_encoders(model: Model) -> list[Model]:
    """Return the encoders that a model stands on, or that stand side by side in one."""
    return [layer for layer in model.layers if isinstance(layer, Model) and layer.name.endswith("_features")]
