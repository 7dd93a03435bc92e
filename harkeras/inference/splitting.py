"""Cut a model in two where its first layers look at each frame alone.

What those layers make of a frame is the same in every window that holds it.
"""

from __future__ import annotations

import keras

from harkeras.models.graph import list_calls


def split_per_frame(model: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """Cut a model into a part that sees each frame alone, and a head that sees what it made of all frames.

    Args:
        model: A model that begins with a chain of `TimeDistributed` layers, with or without a `Rescaling`, or
            with layers between a `reshape` that makes one batch of all frames and one that undoes it.

    Returns:
        Encoder (B, H, W, C) -> (B, ...) and head (B, T, ...) -> (B, classes), sharing the model's weights;
        None if the model does not begin so, or something else also looks at what goes through the chain.
    """
    if len(model.inputs) > 1:
        return None
    chain, tensor = _per_frame_chain(model)
    if not any(layer.weights for layer in chain):
        return None
    frame = x = keras.Input(model.input_shape[2:])
    for layer in chain:
        x = layer(x)
    encoder = keras.Model(frame, x, name="encoder")
    if isinstance(model, keras.Sequential):
        features = keras.Input((model.input_shape[1], *encoder.output_shape[1:]))
        return encoder, keras.Sequential([features, *model.layers[len(chain) :]], name="head")
    try:
        head = keras.Model(tensor, model.output, name="head")
        # Keras before 3.14 finds out only when the head is called, with a shape that it has not met.
        head.compute_output_spec(keras.KerasTensor((1, *tensor.shape[1:])))
        return encoder, head
    except (ValueError, KeyError):  # a branch leaves the chain early: the outputs need more than its result
        return None


def _per_frame_chain(model: keras.Model) -> tuple[list[keras.layers.Layer], keras.KerasTensor]:
    """Return the layers that see each frame alone, to be called on frames, and what they make of a clip."""
    frames, chain, tensor, merged = model.input_shape[1], [], model.inputs[0], False
    cut = [], tensor
    for step, before, after in _steps(model):
        if before is not None and before is not tensor:
            break
        clip, images = (after, tensor) if merged else (tensor, after)
        if type(step).__name__ == "Reshape" and clip.shape[1:] == (frames, *images.shape[1:]):
            merged = not merged  # (B, T, ...) -> (B * T, ...), or back
        elif merged and isinstance(step, keras.layers.Layer):
            chain.append(step)
        elif isinstance(step, keras.layers.TimeDistributed):
            chain.append(step.layer)
        elif isinstance(step, keras.layers.Rescaling):
            chain.append(step.from_config(step.get_config()))
        else:
            break
        tensor = after
        if not merged:
            cut = list(chain), tensor
    return cut


def _steps(model: keras.Model) -> list[tuple]:
    """Return each layer or operation, what it looks at, and what it gives, in order.

    The layers of a Sequential follow one another, whatever tensors they name: there it is None.
    """
    if isinstance(model, keras.Sequential):
        return [(layer, None, layer.output) for layer in model.layers]
    # Not `layer.input`, which of a model inside the model is its own. No frame is alone in several inputs.
    calls = [call for call in list_calls(model) if len(call.inputs) == 1]
    return [(call.operation, call.inputs[0], call.outputs[0]) for call in calls]
