"""Files of time ranges as the tools of this field write them: one module for each tool, reading and writing.

A reader yields, in the order of the file, an `Annotation` for each range and a sentence for each row that
makes no sense. A writer returns the text of a file, and adds a sentence to `problems` for each range that
the format cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from harkeras.data.annotation_formats.activitynet import read_activitynet, write_activitynet
from harkeras.data.annotation_formats.boris import read_boris, write_boris
from harkeras.data.annotation_formats.cvat import read_cvat, write_cvat
from harkeras.data.annotation_formats.elan import read_elan, write_elan
from harkeras.data.annotation_formats.label_studio import read_label_studio, write_label_studio
from harkeras.data.annotation_formats.tables import (
    read_gmdcsa,
    read_kinetics,
    read_plain,
    write_kinetics,
    write_plain,
)
from harkeras.data.annotation_formats.vott import read_vott, write_vott


def list_readers(end_tag: str, fps: float | None) -> dict[str, Callable]:
    """Return for each format what reads its annotations, from a file and the folder of its videos."""
    return {
        "csv": read_plain,
        "kinetics": read_kinetics,
        "gmdcsa": read_gmdcsa,
        "vott": partial(read_vott, end_tag=end_tag),
        "activitynet": read_activitynet,
        "label_studio": partial(read_label_studio, fps=fps),
        "cvat": partial(read_cvat, fps=fps),
        "boris": read_boris,
        "elan": read_elan,
    }


def list_writers(end_tag: str, fps: float | None) -> dict[str, Callable]:
    """Return for each format what makes the text of a file, from the ranges of its videos and `problems`."""
    return {
        "csv": write_plain,
        "kinetics": write_kinetics,
        "vott": partial(write_vott, end_tag=end_tag),
        "activitynet": write_activitynet,
        "label_studio": partial(write_label_studio, fps=fps),
        "cvat": partial(write_cvat, fps=fps),
        "boris": write_boris,
        "elan": write_elan,
    }
