"""Models that name actions without any training: published weights, with classes and recipe.

Each was trained on Kinetics, clips of ten seconds from YouTube with 400 or 600 actions. What it says of other
videos is a good first guess; for actions of your own, put its weights under a new last layer with
`load_weights(..., head=False)`.
"""

from __future__ import annotations

import keras

from harkeras.assets.store import find_asset
from harkeras.assets.table import PRETRAINED
from harkeras.models import create_model
from harkeras.pretrained.weights import load_weights
from harkeras.recipe import Recipe


def list_pretrained() -> list[str]:
    """Return the names that `load_pretrained` accepts, sorted; `predict_on_video` takes them as well."""
    return sorted(PRETRAINED)


def load_pretrained(name: str, *, progress: bool = True) -> keras.Model:
    """Build a model with published weights; its recipe is the model's attribute `recipe`.

    Weights and class names are downloaded once, see `find_asset`.

    Args:
        name: One of `list_pretrained()`.
        progress: Show progress bars of downloads on standard error.

    Returns:
        `keras.Model`, uncompiled: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities of the classes
        of Kinetics.

    Raises:
        ValueError: If there is no such name, or a file is not the one that was published.
        FileNotFoundError: If a file is missing that cannot be downloaded.
        OSError: If a download fails.

    Example:
        >>> model = load_pretrained("i3d-kinetics400")
        >>> predict_single_action("video.mp4", model).label
        'playing cricket'
    """
    if name not in PRETRAINED:
        raise ValueError(f"name must be one of {', '.join(list_pretrained())}, got {name!r}")
    entry = PRETRAINED[name]
    labels = find_asset(entry.labels, progress=progress).read_text(encoding="utf-8").split("\n")
    classes = tuple(label.strip() for label in labels if label.strip())
    weights = find_asset(entry.weights, progress=progress)
    model = create_model(
        entry.model, len(classes), (entry.frames, entry.height, entry.width, 3), **dict(entry.options)
    )
    load_weights(model, weights)
    model.recipe = Recipe(classes, entry.frames, entry.height, entry.width, entry.clip_seconds)
    return model
