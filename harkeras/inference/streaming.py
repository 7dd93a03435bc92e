"""Frames in, decisions out: a model slides over a video, and each frame's features are computed once.

A model sees windows as long as its training clips, sampled as they were. Overlapping windows share frames;
where the first layers of a model look at each frame alone, as in LRCN, what they make of a frame is kept and
used in every window that holds it.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Unpack

import keras
import numpy as np

from harkeras.base.checks import check_count
from harkeras.inference._shared_model import SharedModel
from harkeras.inference._stream_models import ChunkModel, EverybodyModel
from harkeras.inference._window_buffer import Clips, WindowBuffer
from harkeras.inference.conversion import Runtime
from harkeras.inference.decisions import MIN_STRIDE_SECONDS, Window, check_stride
from harkeras.inference.exported import ExportedModel
from harkeras.inference.per_frame import ClipModel
from harkeras.inference.resolve import ForeignModel, resolve_model
from harkeras.models.movinet import is_stream_model
from harkeras.people.everybody import Scene
from harkeras.recipe import Recipe


class ActionStream:
    """Slide a model over frames as they come.

    Its memory does not grow with the stream: it keeps the frames of one window, and what the model made of
    them. A pause longer than twice a window and its stride is a gap, and so is a clock that was set back by
    more than a window. Windows that began before a gap are finished; the next one starts with the first frame
    behind it.

    A model that hands its memory on from chunk to chunk (`create_movinet_stream_model`) gives the answers of
    its causal twin, and computes each frame when it comes: its windows start with an empty memory, and those
    that overlap go through it side by side.

    Args:
        model: The model, whose outputs are probabilities.
        recipe: What it must be shown.
        stride_seconds: Time from the start of one window to that of the next, at least 0.001. By default the
            distance of the frames in a window where each frame's features are computed once, or its joints,
            so that every frame looked at serves in as many windows as possible; half a window for models
            that have to look at each window as a whole, as 3D convolutions do.

    Raises:
        ValueError: If `stride_seconds` or the recipe's `clip_seconds` is out of its range.

    Example:
        >>> stream = ActionStream(model, model.recipe)
        >>> for frame in iter_frames("long.mp4", height=64, width=64):
        ...     for window in stream.push(frame.image[None], [frame.seconds]):
        ...         print(window.end_seconds, window.probabilities)
    """

    def __init__(self, model: keras.Model, recipe: Recipe, *, stride_seconds: float | None = None):
        """Split the model where it can be, and compile it."""
        if recipe.clip_seconds < MIN_STRIDE_SECONDS:
            raise ValueError(
                f"clip_seconds must be at least {MIN_STRIDE_SECONDS}, the length of a window, got "
                f"{recipe.clip_seconds}"
            )
        self.recipe = recipe
        self._model = _compile(model, recipe)
        if stride_seconds is None:
            parts = recipe.frames if self._model.splits or recipe.streams == "pose" else 2
            stride_seconds = max(recipe.clip_seconds / parts, MIN_STRIDE_SECONDS)
        check_stride(stride_seconds)
        self.stride_seconds = stride_seconds
        self._buffer = WindowBuffer(recipe.frames, recipe.clip_seconds, stride_seconds)

    def warm_up(self) -> None:
        """Compile what a long stream needs, before its first frame comes.

        Small models that split, and those of joints, then take a tenth of the time for a frame by itself, if
        LiteRT is installed (`pip install "harkeras[litert]"`): they are converted as by `runtime="litert"`,
        in a second or two. The weights are those of this moment, for this stream and those that come of it
        by `anew`. A model that was given another `runtime` keeps it.
        """
        self._model = self._model.quicken()
        clip = np.zeros((1, *self.recipe.clip_shape), _dtype(self.recipe))
        self.classify(clip)

    def anew(self) -> ActionStream:
        """Return another stream of the same model, which has seen nothing yet."""
        other = copy.copy(self)
        other._buffer = WindowBuffer(self.recipe.frames, self.recipe.clip_seconds, self.stride_seconds)
        return other

    def push(
        self, frames: np.ndarray, seconds: Sequence[float] | np.ndarray, *, newest_only: bool = False
    ) -> list[Window]:
        """Take frames in, and return the windows that are complete.

        After an error, the stream is as it was before, and goes on with the next frames.

        Args:
            frames: uint8 (B, H, W, C), in the size of the recipe; C is 3 for RGB, or as `FlowStack` gives
                them. For models of joints, float32 (B, K, D); for models of all people together, B objects
                `harkeras.people.everybody.Scene`.
            seconds: float (B,), when they appear, increasing.
            newest_only: Compute the last one of the complete windows alone, for a live source that comes
                faster than the model computes.

        Raises:
            ValueError: If the frames are of another size or type, or their times are no finite numbers, not
                one per frame, or do not increase.
        """
        _check_frames(frames, self.recipe)
        times = self._buffer.check(seconds, len(frames))
        complete = self._buffer.push(frames, times)
        if newest_only:
            complete = [clips.newest() for clips in complete[-1:]]
        return _answer([self], [complete])[0]

    def finish(self, end_seconds: float) -> list[Window]:
        """Return the windows that are left when the video ends at `end_seconds`, and start anew.

        A video shorter than one window is seen as one clip, its frames spread over what there is.

        Raises:
            ValueError: If `end_seconds` is no finite number, or lies before the last frame.
        """
        return _answer([self], [self._buffer.finish(end_seconds)])[0]

    def classify(self, clips: np.ndarray) -> np.ndarray:
        """Name whole clips: uint8 (B, T, H, W, C) -> float32 probabilities (B, classes).

        Raises:
            ValueError: If the model answers with what is no number.
        """
        return _sharpen(self._model.classify(clips), self.recipe)

    def frames_needed(self, frame_seconds: np.ndarray, end_seconds: float) -> np.ndarray:
        """Mark the frames of a whole video that some window looks at; no others need be pushed.

        Args:
            frame_seconds: float (N,), when each frame of the video appears, increasing.
            end_seconds: When the video ends.

        Returns:
            bool (N,). The first frame is always among them, because it says when the first window starts; so
            are those beside long pauses, which tell a gap from frames that are left out.
        """
        return self._buffer.frames_needed(frame_seconds, end_seconds)


def push_together(
    streams: Sequence[ActionStream], frames: np.ndarray, seconds: float, *, newest_only: bool = False
) -> list[list[Window]]:
    """Push one frame into each of several streams of one model, such as those of the people in a picture.

    All that has to be computed is computed together, which costs less than one stream after the other, and
    gives what each stream would give by itself. Streams may have begun at different times, and one that has
    no frame at a moment is left out of the list.

    Args:
        streams: S streams, whose recipes show the same kind of frames.
        frames: uint8 (S, H, W, C), or float32 (S, K, D) for models of joints: one frame for each stream.
        seconds: When they appear.
        newest_only: Compute the last complete window of each stream alone, see `ActionStream.push`.

    Returns:
        The windows of each stream that are complete.

    Raises:
        ValueError: If the streams are of several models or one is there twice, the frames are not one for
            each or of another size or type, or `seconds` is no finite number or does not increase.
    """
    if len({id(stream) for stream in streams}) < len(streams):
        raise ValueError("streams must be different ones, got one of them twice")
    if len({id(stream._model) for stream in streams}) > 1:
        raise ValueError("streams must be of one model, got several")
    if len(frames) != len(streams):
        raise ValueError(f"frames must be one for each of {len(streams)} streams, got {len(frames)}")
    for stream in streams:
        _check_frames(frames, stream.recipe)
    times = [stream._buffer.check([seconds], 1) for stream in streams]  # all, before any takes its frame in
    rows = zip(streams, frames[:, None], times, strict=True)
    complete = [stream._buffer.push(frame, time) for stream, frame, time in rows]
    if newest_only:
        complete = [[clips.newest() for clips in several[-1:]] for several in complete]
    return _answer(streams, complete)


def share_model(
    model: str | os.PathLike | keras.Model,
    *,
    most_together: int = 16,
    on_call: Callable[[int], None] | None = None,
    runtime: Runtime | None = None,
    **foreign: Unpack[ForeignModel],
) -> SharedModel:
    """Load a model for many threads: what they ask of it at the same time is computed in one call.

    The result is taken where a model is, by `predict_on_video`, `predict_single_action`, `ActionStream` and
    `watch`, in as many threads as there are.

    Args:
        model: Path of a `.keras` file or of a run, or of what `export_model` wrote, one of
            `list_pretrained()`, or a model in memory.
        most_together: How many calls are computed together, at most; 1 computes each by itself.
        on_call: Is told of each call of the model how many it was asked for.
        runtime: The engine that computes it, see `predict_on_video`.
        **foreign: What a recipe would say, for a model without one, see `ForeignModel`.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If `most_together` is no whole number above 0, or the model cannot be used, see
            `predict_on_video`.

    Example:
        >>> model = share_model("saved_models/run")
        >>> with ThreadPoolExecutor() as pool:
        ...     predictions = list(pool.map(lambda video: predict_on_video(video, model), videos))
    """
    check_count("most_together", most_together)
    resolved = resolve_model(model, runtime=runtime, **foreign)
    compiled = _compile(resolved.model, resolved.recipe)
    return SharedModel(compiled, resolved.recipe, most_together=most_together, on_call=on_call)


def _compile(
    model: keras.Model | SharedModel, recipe: Recipe
) -> ClipModel | ChunkModel | EverybodyModel | SharedModel:
    """Compile a model, once: it keeps what was compiled for the next stream."""
    if isinstance(model, SharedModel):
        return model
    together = recipe.subject in ("people", "frame+people")
    size = (recipe.subject, recipe.height, recipe.width, recipe.interpolation) if together else ()
    pixels = (recipe.streams, recipe.normalize, recipe.channel_order, *size)
    compiled = getattr(model, "_compiled_for_streams", None)
    if compiled is None or compiled[0] != pixels:
        has_memory = model.keeps_memory if isinstance(model, ExportedModel) else is_stream_model(model)
        kind = EverybodyModel if together else ChunkModel if has_memory else ClipModel
        compiled = pixels, kind(model, recipe)
        model._compiled_for_streams = compiled
    return compiled[1]


def _check_frames(frames: np.ndarray, recipe: Recipe) -> None:
    if recipe.subject in ("people", "frame+people"):
        if frames.ndim != 1 or not all(isinstance(frame, Scene) for frame in frames):
            raise ValueError(
                f"frames must be B objects Scene for subject {recipe.subject!r}, got {frames.dtype} "
                f"{frames.shape}"
            )
        return
    dtype, size = _dtype(recipe), recipe.clip_shape[1:]
    if frames.shape[1:] != size or frames.dtype != dtype:
        raise ValueError(
            f"frames must be {np.dtype(dtype)} (B, {', '.join(map(str, size))}), got {frames.dtype} "
            f"{frames.shape}"
        )


def _dtype(recipe: Recipe) -> type:
    return np.float32 if recipe.streams == "pose" else np.uint8


def _answer(streams: Sequence[ActionStream], complete: list[list[Clips]]) -> list[list[Window]]:
    """Return for each stream the answers to its complete windows, which are computed together."""
    complete = [[clips for clips in several if len(clips.starts)] for several in complete]
    together = [clips for several in complete for clips in several]
    if streams and streams[0]._model.keeps_memory:
        begun = [stream._buffer.begun() for stream in streams]
        together += [clips for clips in begun if len(clips.starts)]
    answers = iter(streams[0]._model.answer(together) if together else [])
    windows: list[list[Window]] = []
    for stream, several in zip(streams, complete, strict=True):
        windows.append([])
        for clips in several:
            ends = clips.starts + clips.clip_seconds
            probabilities = _sharpen(next(answers), stream.recipe)
            windows[-1] += map(Window, clips.starts.tolist(), ends.tolist(), probabilities)
    return windows


def _sharpen(probabilities: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Apply the recipe's temperature to each window by itself: it belongs to the model's own logits."""
    if not np.isfinite(probabilities).all():
        raise ValueError("model must answer with finite numbers, got NaN or infinity")
    return recipe.sharpen(probabilities.astype(np.float32, copy=False))
