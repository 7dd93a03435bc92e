"""Write weights as others publish them."""

import pickle
import zipfile

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


def save_torch(path, arrays, views=(), *, zipped=True):
    """Write a state dict as PyTorch does, in its format of today or in the one before 1.6.

    Args:
        path: The file.
        arrays: Float32 arrays by name, each in a storage of its own.
        views: Further tensors: name, name of the array whose numbers they look at, offset, shape, strides.
        zipped: Whether the format is that of today.
    """
    whole = [(name, name, 0, array.shape, [n // array.itemsize for n in array.strides])
             for name, array in arrays.items()]  # fmt: skip
    storage = {name: (str(number), array.size) for number, (name, array) in enumerate(arrays.items())}
    items = b"".join(
        _text(name) + _tensor(*storage[of], offset, shape, strides)
        for name, of, offset, shape, strides in (*whole, *views)
    )
    state = b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."
    numbers = {storage[name][0]: array.tobytes() for name, array in arrays.items()}
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", state)
            for key, content in numbers.items():
                archive.writestr(f"archive/data/{key}", content)
        return path
    content = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)]
    content += [pickle.dumps({"little_endian": True}, 2), state, pickle.dumps(list(numbers), 2)]
    for block in numbers.values():
        content += [(len(block) // 4).to_bytes(8, "little"), block]
    path.write_bytes(b"".join(content))
    return path


def _tensor(key, size, offset, shape, strides):
    """The instructions of a pickle that make a tensor."""
    where = (
        b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(key) + _text("cpu") + _int(size) + b"tQ"
    )
    sizes = b"".join(b"(" + b"".join(map(_int, numbers)) + b"t" for numbers in (shape, strides))
    end = b"\x89ccollections\nOrderedDict\n)RtR"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + where + _int(offset) + sizes + end


def _text(text):
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def _int(number):
    return b"\x8a\x08" + number.to_bytes(8, "little", signed=True)
