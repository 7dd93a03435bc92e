"""Write weights as others publish them."""

import json

import numpy as np


def save_safetensors(path, arrays):
    """Write float32 and int64 arrays by name in the format of Hugging Face."""
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        kind = {"float32": "F32", "int64": "I64"}[array.dtype.name]
        ends = [len(numbers), len(numbers) + array.nbytes]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": ends}
        numbers += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
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
