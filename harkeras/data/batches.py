"""Batches for training: from arrays, or from video files that are decoded on the way.

The order of the clips, the cut of each video and every augmentation follow from a seed and the number of the
epoch: a training that was interrupted sees the same batches when it goes on.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from joblib import cpu_count

from harkeras.base.workers import in_order
from harkeras.data.joining import draw_neighbors, join
from harkeras.data.presentation import Presentation, Presented
from harkeras.data.sharing import Share
from harkeras.data.sources import find_sources, given_sources
from harkeras.people.clips import read_clip
from harkeras.people.pose import PoseEstimator, ensure_estimator
from harkeras.recipe import ClipFormat, FlowMethod, Streams, Subject
from harkeras.video.reading import VideoError, VideoInfo


class Batches(keras.utils.PyDataset):
    """Some rows of an array of clips, batch by batch.

    Args:
        features: Clips (N, T, H, W, C), in memory or on disk, or a `ClipDataset`.
        labels: int (N,), their classes, or float (N, classes).
        rows: Which of them.
        batch_size: Clips per batch.
        seed: Seed of the order and of the presentation; without one, the rows come in order as they are.
        presentation: How clips are drawn and changed; for mixup, labels must be float (N, classes).
        weights: Weight of each class in the loss.
        groups: (N,), the source of each clip; needed for joins.
        share: Which part of each batch is made here, of a model on several devices.

    Attributes:
        error: What went wrong while a batch was made; of TensorFlow's threads, another error comes out.
    """

    error: Exception | None = None

    def __init__(
        self,
        features,
        labels: np.ndarray,
        rows: np.ndarray,
        batch_size: int,
        *,
        seed: int | None = None,
        presentation: Presentation | None = None,
        weights: dict[int, float] | None = None,
        groups: np.ndarray | None = None,
        share: Share = Share(),  # noqa: B008  it is a tuple
    ):
        """Start with epoch 0."""
        super().__init__()
        self.features, self.labels, self.rows, self.batch_size = features, labels, rows, batch_size
        self.seed, self.presentation, self.groups = seed, presentation or Presentation(), groups
        self.share, self.class_rows = share, labels if labels.ndim == 1 else labels.argmax(axis=1)
        self.weights = (
            None if weights is None else np.array([weights[c] for c in sorted(weights)], np.float32)
        )
        self.shuffle(0)

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch; Keras calls this."""
        self.shuffle(self.epoch + 1)

    def shuffle(self, epoch: int) -> None:
        """Draw the order of an epoch from the seed and its number."""
        self.epoch, self.order = epoch, self.rows
        if self.seed is None:
            return
        rng = np.random.default_rng([self.seed, epoch])
        self.order = rng.permutation(self.rows)
        if self.presentation.sampling == "balanced":
            classes = self.class_rows[self.order]
            piles = [self.order[classes == each] for each in np.unique(classes)]
            turns = -(-len(self.rows) // len(piles))
            drawn = np.stack([np.resize(pile, turns) for pile in piles], axis=1)  # (turns, classes)
            self.order = rng.permuted(drawn, axis=1).reshape(-1)[: len(self.rows)]

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        """Return clips, labels and, with class weights, the weight of each clip."""
        try:
            return self._make(index)
        except Exception as error:
            self.error = error
            raise

    def _make(self, index: int) -> tuple[np.ndarray, ...]:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        seed = None if self.seed is None else [self.seed, self.epoch, index]
        if self.share.devices == 1:
            return self._show(*self.read(rows, seed), seed)
        places = self.share.places(len(rows))
        here = places % len(rows)
        if seed is not None and self.presentation.changes_clips:  # by draws for the batch as a whole
            clips, labels, *weights = (x[here] for x in self._show(*self.read(rows, seed), seed))
        else:
            clips, labels, *weights = self._show(*self.read(rows, seed, here), None)
        # In training the mean over each batch is to be right, in validation the one over all of them.
        counted = (len(self.rows), self.batch_size) if self.seed is None else (len(rows), len(rows))
        weights = self.share.scale(*counted) * (weights[0] if weights else 1)
        return clips, labels, np.where(places < len(rows), weights, 0).astype(np.float32)

    def _show(self, clips: np.ndarray, rows: np.ndarray, seed: list[int] | None) -> tuple[np.ndarray, ...]:
        """Return clips as they are presented, their labels, and their weights if there are any."""
        labels = self.labels[rows]
        weights = () if self.weights is None else (self.weights[self.class_rows[rows]],)
        if seed is None:
            return clips, labels, *weights
        if self.presentation.joins:
            self._join(clips, rows, seed)
        rng = np.random.default_rng(seed)
        augment, mixup = self.presentation.augment, self.presentation.mixup
        if augment is not None:
            clips = augment(clips, int(rng.integers(2**31)))
        if mixup:
            share = rng.beta(mixup, mixup, len(rows)).astype(np.float32)
            other = rng.permutation(len(rows))
            clips, labels, *weights = (_mix(each, each[other], share) for each in (clips, labels, *weights))
        return clips, labels, *weights

    def _join(self, clips: np.ndarray, rows: np.ndarray, seed: list[int]) -> None:
        """Let some of the clips, in place, begin or end in another action."""
        rng = np.random.default_rng([*seed, 2])  # the other draws stay what they are without joins
        joined = np.flatnonzero(rng.random(len(rows)) < self.presentation.joins)
        if not len(joined):
            return
        neighbors = draw_neighbors(rows[joined], self.rows, self.class_rows, self.groups, rng)
        others, _ = self.read(neighbors, [*seed, 3])
        for i, other in zip(joined, others, strict=True):
            clips[i] = join(clips[i], other, rng)

    def read(
        self, rows: np.ndarray, seed: list[int] | None, places: np.ndarray | slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return clips of a batch, of video files random cuts if there is a seed, and their rows."""
        if isinstance(self.features, ClipDataset):
            return self.features.read(rows, seed, self.rows, places)
        return self.features[rows[places]], rows[places]


def _mix(values: np.ndarray, others: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return share * values + (1 - share) * others


class ClipDataset(Presented, Batches):
    """Clips of video files, decoded on the way: for data sets larger than the memory, and random cuts.

    It is a `keras.utils.PyDataset`: `model.fit(clip_dataset)` works, as do `harkeras.train` and
    `harkeras.evaluate` with it in place of arrays. The next batch is decoded, on all cores, while the model
    learns.

    A video that cannot be read is named in a warning, once. In training the next one of its class takes its
    place, so that batches stay whole; `harkeras.evaluate` leaves it out.

    Args:
        video_paths: The video files.
        labels: int (N,), their classes.
        classes: Names of the classes; needed for training.
        groups: (N,), the source of each video; read from the names of the files by default, see
            `find_sources`.
        frames: Frames T per clip.
        height: Height of a frame in pixels.
        width: Width of a frame in pixels.
        streams: "rgb", "gray", "flow", "rgb+flow" or "pose", see `harkeras.create_dataset`.
        flow_fields: Fields of flow per frame.
        flow_method: "dis", "farneback" or "tvl1".
        subject: "frame", "people", "frame+people" or "person", see `harkeras.create_dataset`.
        estimator: What finds 17 joints in an image, for "pose"; MoveNet by default.
        clip_seconds: Length of a clip: in training, a random part of the video of this length is taken, in
            testing the middle one. By default a clip spans the whole video.
        clips_per_video: In testing, so many clips spread over the video, whose scores are averaged by
            `evaluate`.
        batch_size: Clips per batch in training; 8 by default.
        seed: Seed of the order and of the cuts in training. Without one, `fit` takes the videos in order, as
            for testing, and `harkeras.train` takes 27.
        workers: Threads that decode; one per core that this process may use by default.
        strict: Raise on the first video that cannot be read, instead of going on with a warning.

    Attributes:
        unreadable: Rows of the videos that could not be read, and why.

    Raises:
        ValueError: If lengths differ, or a number is out of its range.
        ImportError: If LiteRT is needed and not installed.
        VideoError: While batches are made, if no video of a class can be read, or, with `strict`, any.
    """

    def __init__(
        self,
        video_paths: Sequence[str | os.PathLike],
        labels: np.ndarray,
        *,
        classes: Sequence[str] | None = None,
        groups: Sequence | None = None,
        frames: int = 20,
        height: int = 64,
        width: int = 64,
        streams: Streams = "rgb",
        flow_fields: int = 10,
        flow_method: FlowMethod = "dis",
        subject: Subject = "frame",
        estimator: PoseEstimator | None = None,
        clip_seconds: float | None = None,
        clips_per_video: int = 1,
        batch_size: int | None = None,
        seed: int | None = None,
        workers: int | None = None,
        strict: bool = False,
    ):
        """Remember what to read; nothing is decoded yet."""
        self.clip_format = ClipFormat(
            frames, height, width, streams, flow_fields, flow_method, subject=subject
        )
        counts = {"batch_size": batch_size, "clips_per_video": clips_per_video, "workers": workers}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if len(video_paths) != len(labels) or not len(labels):
            raise ValueError(f"labels must be one per video, got {len(labels)} and {len(video_paths)} videos")
        if clip_seconds is not None and not clip_seconds > 0:
            raise ValueError(f"clip_seconds must be positive, got {clip_seconds}")
        self.video_paths = [Path(path) for path in video_paths]
        self.shape = (len(labels), *self.clip_format.shape)
        self.classes: tuple[str, ...] = () if classes is None else tuple(classes)
        self.sources = (
            find_sources(self.video_paths) if groups is None else given_sources(groups, len(labels))
        )
        self.clip_seconds, self.clips_per_video, self.split_words = clip_seconds, clips_per_video, ""
        self.threads, self.strict, self.unreadable = workers or cpu_count(), strict, {}
        self.asked_batch_size, self._of_joints = batch_size, {}
        if streams == "pose":
            self._of_joints = {"estimator": ensure_estimator(estimator)}
        self._spans: dict[int, tuple[float, float]] = {}  # first and last moment with a picture, seconds
        rows, groups = np.arange(len(labels)), self.sources.groups
        super().__init__(None, np.asarray(labels), rows, batch_size or 8, seed=seed, groups=groups)

    def read(
        self,
        rows: np.ndarray,
        seed: list[int] | None,
        among: np.ndarray | None = None,
        places: np.ndarray | slice = slice(None),
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decode one clip of each video in parallel, or of another where one cannot be read.

        Args:
            rows: The videos.
            seed: Seed of the cuts; the middle of each video without.
            among: Rows that may take the place of one that cannot be read; all by default.
            places: Which of `rows` to decode; all by default.

        Returns:
            Clips uint8 (B, T, H, W, C), of joints float32 (B, T, K, D), and the B rows that they are of.
        """
        rng = None if seed is None else np.random.default_rng([*seed, 1])
        cuts = np.full(len(rows), 0.5) if rng is None else rng.uniform(size=len(rows))
        among = self.rows if among is None else among
        # Threads for each batch: they start in no time, and none is left when the data set is forgotten.
        read = in_order(
            lambda part: self._read_or_next(*part, among),
            zip(rows[places], cuts[places], strict=True),
            self.threads,
        )
        clips, rows = zip(*read, strict=True)
        return np.stack(clips), np.array(rows)

    def _read_or_next(self, row: int, place: float, among: np.ndarray) -> tuple[np.ndarray, int]:
        """Decode a part of a video, or of the next one of its class that can be read."""
        alike = np.sort(among[self.labels[among] == self.labels[row]])
        for other in np.roll(alike, -np.searchsorted(alike, row)):
            clip = self.try_to_read(int(other), place)
            if clip is not None:
                return clip, int(other)
        raise VideoError(
            f"no video of a class can be read, the first of {len(alike)}: {self.unreadable[row]}"
        )

    def for_model(self, model: keras.Model) -> tuple[keras.Model, ClipDataset]:
        """Return what is asked of these clips, and what it is shown; here, the model and the clips."""
        return model, self

    @property
    def places(self) -> np.ndarray:
        """Where the clips lie that are scored together: float (clips_per_video,), first 0, last 1."""
        return (np.arange(self.clips_per_video) + 0.5) / self.clips_per_video

    def try_to_read(self, row: int, place: float) -> np.ndarray | None:
        """Decode a part of a video: (T, H, W, C), or None, and a warning, if it cannot be read."""
        return None if row in self.unreadable else self._unless_unreadable(row, self._read_clip, place)

    def _unless_unreadable(self, row: int, read: Callable, *arguments) -> Any:
        try:
            return read(row, *arguments)
        except (VideoError, OSError) as error:
            if self.strict:
                raise
            if row not in self.unreadable:
                self.unreadable[row] = str(error)
                warnings.warn(f"a clip was left out: {error}", stacklevel=3)
            return None

    def median_seconds(self) -> float:
        """Return how long a clip is: `clip_seconds`, or the median duration of the videos.

        Raises:
            VideoError: If no video can be read, or, with `strict`, if any cannot.
        """
        if self.clip_seconds is not None:
            return self.clip_seconds
        rows = range(len(self.labels))
        spans = in_order(lambda row: self._unless_unreadable(row, self._span), rows, self.threads)
        durations = [end - first for first, end in filter(None, spans)]
        if not durations:
            raise VideoError(f"no video can be read, the first of {len(rows)}: {self.unreadable[0]}")
        return float(np.median(durations))

    def _span(self, row: int) -> tuple[float, float]:
        if row not in self._spans:
            info = VideoInfo.read(self.video_paths[row])
            self._spans[row] = float(info.frame_seconds[0]), info.duration_seconds
        return self._spans[row]

    def _read_clip(self, row: int, place: float) -> np.ndarray:
        """Decode a part of a video: its first for place 0, its last for 1."""
        path = self.video_paths[row]
        start = end = None
        if self.clip_seconds is not None:
            first, last = self._span(row)
            start = first + place * max(last - first - self.clip_seconds, 0)
            end = start + self.clip_seconds
        return read_clip(path, self.clip_format, start_seconds=start, end_seconds=end, **self._of_joints)
