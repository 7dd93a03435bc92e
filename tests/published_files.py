"""Write weights as others publish them."""

import numpy as np
from safetensors.numpy import save_file


def save_safetensors(path, arrays):
    """Write arrays by name in the format of Hugging Face."""
    save_file(arrays, path, {"format": "pt"})
    return path


def torchvision_state(model):
    """The weights of our R3D or R(2+1)D as torchvision names them and lays them out."""
    parts = {"gamma": "weight", "beta": "bias", "kernel": "weight"}
    parts |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    state = {}
    for layer in model.layers:
        for weight in layer.weights:
            value = weight.numpy()
            if weight.name == "kernel":
                value = np.ascontiguousarray(np.moveaxis(value, (-1, -2), (0, 1)))
            name = "fc" if layer.name == "probabilities" else layer.name.replace("_", ".")
            state[f"{name}.{parts.get(weight.name, weight.name)}"] = value
    return state
