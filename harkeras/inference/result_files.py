"""What was named in one video, as a file of JSON that gives it back to the last digit.

    {"version": 1, "video": "falls/a.mp4", "seconds": 12.5, "error": "",
     "prediction": {"kind": "timeline", "segments": [...], "classes": [...], "windows": ..., ...}}

With people, `people` is a list of `number`, `prediction`, `boxes` and `joints`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from harkeras.base.storage import Folder, is_remote
from harkeras.inference._timeline import Segment, VideoPrediction
from harkeras.inference.people_prediction import PersonPrediction
from harkeras.inference.prediction import ActionPrediction
from harkeras.inference.video_results import VideoResult

VERSION = 1
_ARRAYS = ("windows", "probabilities", "moments", "smoothed")


def read_result(path: str | os.PathLike) -> VideoResult:
    """Read what `predict_on_videos` kept of a video.

    Args:
        path: A file in its `output_dir`, or the address of one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another kind of file, or damaged.
    """
    text = os.fspath(path)
    above, _, name = text.rpartition("/") if is_remote(text) else (Path(text).parent, "", Path(text).name)
    content = Folder(above).read(name)
    if content is None:
        raise FileNotFoundError(f"no result at {text}")
    try:
        return from_json(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"path must be a result that predict_on_videos wrote, got {text}") from error


def to_json(result: VideoResult) -> bytes:
    """Return the content of a file."""
    people = None
    if result.people is not None:
        people = [
            {
                "number": each.number,
                "prediction": _from_prediction(each.prediction),
                "boxes": _from_array(each.boxes),
                "joints": None if each.joints is None else _from_array(each.joints),
            }
            for each in result.people
        ]
    card = {
        "version": VERSION,
        "video": result.video,
        "seconds": result.seconds,
        "prediction": None if result.prediction is None else _from_prediction(result.prediction),
        "people": people,
    }
    return json.dumps(card, ensure_ascii=False).encode()


def from_json(content: bytes) -> VideoResult:
    """Return what a file holds; damage raises ValueError, KeyError, TypeError or AttributeError."""
    card = json.loads(content)
    if card["version"] != VERSION:
        raise ValueError(f"version {card['version']}")
    people = card["people"]
    if people is not None:
        people = [
            PersonPrediction(
                each["number"],
                _to_prediction(each["prediction"]),
                _to_array(each["boxes"]),
                None if each["joints"] is None else _to_array(each["joints"]),
            )
            for each in people
        ]
    prediction = card["prediction"]
    prediction = None if prediction is None else _to_prediction(prediction)
    return VideoResult(card["video"], card["seconds"], prediction, people=people)


def _from_prediction(prediction: VideoPrediction | ActionPrediction) -> dict[str, Any]:
    if isinstance(prediction, ActionPrediction):
        return {"kind": "action", **prediction._asdict()}
    return {
        "kind": "timeline",
        "segments": [segment._asdict() for segment in prediction.segments],
        "classes": prediction.classes,
        **{name: _from_array(getattr(prediction, name)) for name in _ARRAYS},
    }


def _to_prediction(card: dict[str, Any]) -> VideoPrediction | ActionPrediction:
    if card["kind"] == "action":
        return ActionPrediction(card["label"], card["confidence"], card["probabilities"])
    segments = [Segment(**each) for each in card["segments"]]
    return VideoPrediction(segments, tuple(card["classes"]), *(_to_array(card[name]) for name in _ARRAYS))


def _from_array(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": str(array.dtype), "shape": array.shape, "values": array.ravel().tolist()}


def _to_array(card: dict[str, Any]) -> np.ndarray:
    return np.array(card["values"], np.dtype(card["dtype"])).reshape(card["shape"])
