"""How the filters of `augment` are called: on arrays or in a model, alone or in random order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import keras
import numpy as np

from harkeras.base.keras_state import require_tensorflow
from harkeras.recipe import Streams, read_channels

Mode = Literal["one", "some", "all"]
Range = tuple[float, float]  # least and most of what is drawn
register = keras.saving.register_keras_serializable(package="harkeras")


class ClipFilter(keras.layers.Layer):
    """What all filters share; one of your own needs `change(clip, rng)`.

    Called as `layer(clips, seed)`, it takes and returns uint8 arrays. Called as `layer(clips, training=True)`
    it is a Keras layer: pixels 0-255 of any dtype, rounded to whole numbers.

    Args:
        seed: Seed of what is drawn inside a model.
        **kwargs: Further arguments of `keras.layers.Layer`, such as `name`.
    """

    changes_colors_only = False

    def __init__(self, *, seed: int | None = None, **kwargs):
        """Make a generator of seeds, for use inside a model."""
        super().__init__(autocast=False, **kwargs)
        self.built, self.supports_jit = True, False
        self.generator = keras.random.SeedGenerator(seed)

    def __call__(self, clips, seed: int | Sequence[int] | None = None, **kwargs):
        """Change clips by a seed, or, without one, as Keras calls a layer."""
        return super().__call__(clips, **kwargs) if seed is None else self.augment(clips, seed)

    def call(self, clips, training=False):
        """Return the clips as they are, or, in training, changed."""
        if not training:
            return clips
        require_tensorflow("an augmentation inside a model")
        import tensorflow as tf

        changed = tf.numpy_function(self._augment_any, [clips, self.generator.next()], clips.dtype)
        changed.set_shape(clips.shape)
        return changed

    def compute_output_spec(self, clips, training=False):
        """Return what comes in: neither shape nor dtype changes."""
        return keras.KerasTensor(clips.shape, clips.dtype)

    def augment(self, clips: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
        """Change every clip of a batch, each by draws of its own.

        Args:
            clips: uint8 (B, T, H, W, C): RGB, optical flow or both (see `harkeras.video.flow`); images
                (B, H, W, 3) are clips of one frame.
            seed: Not negative; the same seed gives the same result.

        Returns:
            uint8, a new array of the same shape.

        Raises:
            ValueError: If the clips are not such, or have no colors and the filter changes nothing else.
        """
        clips = np.asarray(clips)
        if clips.dtype != np.uint8 or clips.ndim not in (4, 5):
            raise ValueError(f"clips must be uint8 (B, T, H, W, C), got {clips.dtype} {clips.shape}")
        self.check_streams(read_channels(clips.shape[-1])[0])
        changed = np.empty_like(clips, order="C")
        for i, clip in enumerate(clips):
            rng = np.random.default_rng([*np.atleast_1d(seed).tolist(), i])
            frames = np.ascontiguousarray(clip if clips.ndim == 5 else clip[None])
            changed[i] = self.change(frames, rng).reshape(clip.shape)
        return changed

    def _augment_any(self, clips: np.ndarray, seed: np.ndarray) -> np.ndarray:
        pixels = np.clip(np.rint(clips), 0, 255).astype(np.uint8)
        return self.augment(pixels, seed).astype(clips.dtype)

    def check_streams(self, streams: Streams) -> None:
        """Refuse clips that have nothing to change."""
        if streams == "flow" and self.changes_colors_only:
            raise ValueError(
                f"{type(self).__name__} changes colors, and the clips have none: they are optical flow; "
                "default_augmentation('flow') has what makes sense for flow"
            )

    def change(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a changed copy of a clip, or the clip itself where nothing changes: uint8 (T, H, W, C)."""
        raise NotImplementedError


class ColorFilter(ClipFilter):
    """A filter of the RGB channels that leaves optical flow alone."""

    changes_colors_only = True

    def change(self, clip, rng):
        if clip.shape[-1] == 3:
            return self.change_colors(clip, rng)
        changed = clip.copy()
        changed[..., :3] = self.change_colors(np.ascontiguousarray(clip[..., :3]), rng)
        return changed

    def change_colors(self, clip, rng):
        raise NotImplementedError


@register
class Augmentation(ClipFilter):
    """Apply several filters, in an order drawn anew for every clip.

    Args:
        filters: The filters, at least one.
        mode: "one" applies one, drawn at random; "some" a random number of them, 1 to all; "all" all.
        seed: Seed of what is drawn inside a model; of no meaning where a seed is passed with the clips.
        **kwargs: See `ClipFilter`.

    Raises:
        ValueError: If there is no filter, or no such mode.
    """

    def __init__(
        self, filters: Sequence[ClipFilter], mode: Mode = "some", *, seed: int | None = None, **kwargs
    ):
        """Check the arguments."""
        super().__init__(seed=seed, **kwargs)
        if not filters or not all(isinstance(each, ClipFilter) for each in filters):
            raise ValueError(f"filters must be one or more filters of harkeras.data.augment, got {filters!r}")
        if mode not in ("one", "some", "all"):
            raise ValueError(f"mode must be 'one', 'some' or 'all', got {mode!r}")
        self.filters, self.mode, self.seed = list(filters), mode, seed

    def check_streams(self, streams):
        """Refuse clips that one of the filters cannot change."""
        for each in self.filters:
            each.check_streams(streams)

    def change(self, clip, rng):
        """Draw filters and their order, and apply them one after the other."""
        order = rng.permutation(len(self.filters))
        count = {"one": 1, "some": rng.integers(1, len(order) + 1), "all": len(order)}[self.mode]
        for i in order[:count]:
            clip = np.ascontiguousarray(self.filters[i].change(clip, rng))
        return clip

    def get_config(self):
        """Return the arguments, for Keras to save."""
        filters = [keras.saving.serialize_keras_object(each) for each in self.filters]
        return super().get_config() | {"filters": filters, "mode": self.mode, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        """Make it of saved arguments."""
        filters = [keras.saving.deserialize_keras_object(each) for each in config["filters"]]
        return cls(**config | {"filters": filters})


def within(name: str, values: Range, least: float, most: float) -> Range:
    """Check what random numbers are drawn from: two numbers in order, within [least, most]."""
    if len(values) != 2 or not least <= values[0] <= values[1] <= most:
        raise ValueError(f"{name} must be two numbers in order, in {least} to {most}, got {values}")
    return tuple(values)


def look_up(clip: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replace every value v of a clip by table[v], rounded and clipped to 8 bits."""
    table = np.rint(table).clip(0, 255).astype(np.uint8)
    return cv2.LUT(clip.reshape(len(clip), -1), table).reshape(clip.shape)


def scale_flow(clip: np.ndarray, across: float, down: float) -> np.ndarray:
    """Multiply the flow in a clip (T, H, W, C) by a factor for each direction; RGB is left alone."""
    fields = read_channels(clip.shape[-1])[1]
    if not fields:
        return clip
    values = np.arange(256)[:, None]
    scaled = np.rint((values - 128) * np.tile([across, down], fields) + 128).clip(1, 255)
    table = np.hstack([values.repeat(clip.shape[-1] - 2 * fields, axis=1), scaled])  # (256, C)
    return cv2.LUT(clip.reshape(-1, *clip.shape[2:]), table.astype(np.uint8)[None]).reshape(clip.shape)


def turn_flow(clip: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a matrix to the flow in a clip, in place of the old; RGB is left alone.

    Args:
        clip: uint8 (T, H, W, C), see `harkeras.video.flow`; it is changed.
        matrix: float32 (2, 2, H, W): what becomes of a move by (x, y) at each place.
    """
    first = clip.shape[-1] - 2 * read_channels(clip.shape[-1])[1]
    for frame in clip:
        x, y = (frame[..., first + i :: 2].astype(np.float32) - 128 for i in (0, 1))  # (H, W, L)
        for i, (of_x, of_y) in enumerate(matrix[..., None]):
            frame[..., first + i :: 2] = np.rint(of_x * x + of_y * y + 128).clip(1, 255)
    return clip
