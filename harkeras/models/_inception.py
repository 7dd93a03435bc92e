"""Inception-v1: look at the same features in four ways, side by side; of images or, inflated, of clips.

Layers are named as in the code that the authors of I3D released, with "_" for "/".
"""

from __future__ import annotations

from keras import KerasTensor, layers

from harkeras.models.blocks import local_response_normalization, scaled

# Filters of each block: 1x1; 1x1 and 3x3; 1x1 and 5x5 (with batch norm, 3x3); 1x1 after the pool.
_FILTERS = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


def inception(x: KerasTensor, *, width_multiplier: float, batch_norm: bool = True) -> KerasTensor:
    """Pixels in [-1, 1], (B, H, W, C) or (B, T, H, W, C) -> features (B, H/32, W/32, 1024), T/8 before H.

    Args:
        x: Images or clips.
        width_multiplier: Factor for the number of filters of every layer.
        batch_norm: Whether there is batch norm (without scale) in place of biases and of local response
            normalization, 3x3 in place of 5x5, and a last max pool of 2x2; for images it may be False.
    """
    clips = x.ndim == 5
    flat = ((1, 3, 3), (1, 2, 2)) if clips else (3, 2)  # the first two pools leave time alone
    x = _unit(x, "", "1a", scaled(64, width_multiplier), 7, batch_norm, strides=2)  # (B, H/2, W/2, 64)
    x = _pool(x, "", "2a", *flat)
    if not batch_norm:
        x = _normalize(x, name="LocalRespNorm_2a")
    x = _unit(x, "", "2b", scaled(64, width_multiplier), 1, batch_norm)
    x = _unit(x, "", "2c", scaled(192, width_multiplier), 3, batch_norm)
    if not batch_norm:
        x = _normalize(x, name="LocalRespNorm_2c")
    x = _pool(x, "", "3a", *flat)  # (B, H/8, W/8, 192), of clips T/2
    for block, filters in _FILTERS.items():
        if block == "4b":
            x = _pool(x, "", "4a", 3, 2)  # (B, H/16, W/16, 480), T/4
        elif block == "5b":
            x = _pool(x, "", "5a", 2 if batch_norm else 3, 2)  # (B, H/32, W/32, 832), T/8
        x = _mixed(x, [scaled(n, width_multiplier) for n in filters], batch_norm, name=f"Mixed_{block}")
    return x


def _mixed(x, filters, batch_norm, *, name):
    branches = [f"{name}_Branch_{i}_" for i in range(4)]
    b0 = _unit(x, branches[0], "0a", filters[0], 1, batch_norm)
    b1 = _unit(x, branches[1], "0a", filters[1], 1, batch_norm)
    b2 = _unit(x, branches[2], "0a", filters[3], 1, batch_norm)
    b1 = _unit(b1, branches[1], "0b", filters[2], 3, batch_norm)
    b2 = _unit(b2, branches[2], "0b", filters[4], 3 if batch_norm else 5, batch_norm)
    b3 = _unit(_pool(x, branches[3], "0a", 3, 1), branches[3], "0b", filters[5], 1, batch_norm)
    return layers.Concatenate(name=name)([b0, b1, b2, b3])


def _unit(x, prefix, place, filters, size, batch_norm, *, strides=1):
    """Convolution (and batch norm), ReLU."""
    rank, convolution = (3, layers.Conv3D) if x.ndim == 5 else (2, layers.Conv2D)
    name = f"{prefix}Conv{rank}d_{place}_{size}x{size}"
    options = {"padding": "same", "use_bias": not batch_norm, "name": f"{name}_conv_{rank}d"}
    x = convolution(filters, size, strides, **options)(x)
    if batch_norm:
        x = layers.BatchNormalization(momentum=0.999, epsilon=1e-3, scale=False, name=f"{name}_batch_norm")(x)
    return layers.ReLU(name=name)(x)


def _pool(x, prefix, place, size, strides):
    kind, pool = ("MaxPool3d", layers.MaxPooling3D) if x.ndim == 5 else ("MaxPool", layers.MaxPooling2D)
    pixels = size if isinstance(size, int) else size[-1]
    return pool(size, strides, padding="same", name=f"{prefix}{kind}_{place}_{pixels}x{pixels}")(x)


def _normalize(x, *, name):
    """Local response normalization with the constants of Caffe, which divides alpha by n."""
    return local_response_normalization(x, name=name, k=1, n=5, alpha=1e-4 / 5, beta=0.75)
