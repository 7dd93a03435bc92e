"""The data set: labeled clips, with their classes, sources and seconds."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from joblib import cpu_count

from harkeras.base.checks import check_choice
from harkeras.base.workers import in_order
from harkeras.data.presentation import Presented
from harkeras.data.sources import Sources, find_sources, given_sources, join_copies, warn_if_unknown
from harkeras.data.splits import Split, split_clips
from harkeras.recipe import FlowMethod, Streams, Subject
from harkeras.video.reading import VideoInfo


class Dataset(Presented):
    """Labeled clips, and what nobody should have to carry beside them.

    It unpacks as `features, labels, video_paths = create_dataset(...)`. `dataset[rows]` and `dataset.split()`
    are views: frames that are mapped from a file on disk are not copied.

    Args:
        features: Clips (N, T, H, W, C), images (N, H, W, C), which are clips of one frame, or joints (N, T,
            K, 2 or 3); an array, or what is indexed like one.
        labels: int (N,), their classes.
        video_paths: The N files; none for clips that come from elsewhere.
        classes: Names of the classes; without them, those of the recipe of the model in question count.
        groups: (N,), the source of each clip; read from the names of the files by default.
        sources: The same, with how it was found, see `find_sources`.
        streams: What a clip holds, see `Recipe`. Without it, uint8 of 3 channels is "rgb", of 1 channel
            "gray"; floats (N, T, K, 2 or 3) are "pose"; of others it is asked where it matters.
        flow_method: How the flow was computed, if there is any.
        clip_seconds: How long the clips are; the median duration of the files by default.

    Raises:
        ValueError: If lengths differ, or a value is out of its range.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        video_paths: Sequence[str | os.PathLike] = (),
        *,
        classes: Sequence[str] | None = None,
        groups: Sequence | None = None,
        sources: Sources | None = None,
        streams: Streams | None = None,
        flow_method: FlowMethod | None = None,
        subject: Subject = "frame",
        clip_seconds: float | None = None,
    ):
        """Keep everything as it is."""
        if not hasattr(features, "shape") or not hasattr(features, "dtype"):
            raise ValueError(
                f"features must be an array, got {type(features).__name__}; for a tf.data set, compile the "
                "model and call its `fit` and `evaluate`"
            )
        labels, count = np.asarray(labels), features.shape[0]
        if len(labels) != count or len(video_paths) not in (0, count):
            raise ValueError(
                f"features, labels and video_paths must be alike in number, got {count}, {len(labels)} and "
                f"{len(video_paths)}"
            )
        if clip_seconds is not None and not 0 < clip_seconds < math.inf:
            raise ValueError(f"clip_seconds must be a positive number, got {clip_seconds}")
        self.features, self.labels, self.video_paths = features, labels, list(map(Path, video_paths))
        self.classes: tuple[str, ...] = () if classes is None else tuple(classes)
        if sources is None:
            found = groups is None and len(video_paths)
            sources = find_sources(video_paths) if found else given_sources(groups, count)
        if len(sources.groups) != count:
            raise ValueError(f"sources must be one per clip, got {len(sources.groups)} and {count} clips")
        self.sources = sources
        for name, value, known in (("streams", streams, Streams), ("flow_method", flow_method, FlowMethod)):
            if value is not None:
                check_choice(name, value, get_args(known))
        check_choice("subject", subject, get_args(Subject))
        self.streams, self.flow_method, self.subject = streams, flow_method, subject
        self.split_words = ""  # how `split` chose these clips
        self._clip_seconds = clip_seconds

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.labels)

    def __iter__(self) -> Iterator:
        """Unpack as features, labels, video_paths."""
        return iter((self.features, self.labels, self.video_paths))

    def __getitem__(self, rows: np.ndarray | slice) -> Self:
        """Return some rows as a data set of their own, without copying frames."""
        rows = np.arange(len(self))[rows]
        view = copy.copy(self)
        view.features = self._rows_of_features(rows)
        view.labels, view.sources = self.labels[rows], self.sources[rows]
        view.video_paths = [self.video_paths[row] for row in rows] if self.video_paths else []
        return view

    def _rows_of_features(self, rows: np.ndarray) -> np.ndarray:
        return RowView(self.features, rows)

    def for_model(self, model: Any) -> tuple[Any, np.ndarray]:
        """Return what is asked of these clips, and what it is shown; here, the model and the clips."""
        return model, self.features

    def check_streams(self, known: Streams | None = None) -> Streams:
        """Return what a clip holds: what was given, else what a model's recipe says, else what can be told.

        Raises:
            ValueError: If it cannot be told.
        """
        streams = self.streams or known or _streams_of(self.features)
        if streams is None:
            raise ValueError(
                "streams must say what the clips hold: 'rgb', 'gray', 'flow' (moves to the right and down, "
                f"in turn), 'rgb+flow' or 'pose' (joints); it cannot be told of {self.features.dtype} "
                f"{tuple(self.features.shape)}"
            )
        return streams

    @property
    def groups(self) -> np.ndarray:
        """The source of each clip, str (N,)."""
        return self.sources.groups

    def join_copies(self) -> Self:
        """Return a view in which clips of identical files have one source; other sources stay."""
        view = copy.copy(self)
        if self.video_paths and self.sources.copied is None:
            view.sources = join_copies(self.video_paths, self.sources)
        return view

    def without_sources(self) -> Self:
        """Return a view in which each clip is a source by itself: for splits at random."""
        view = copy.copy(self)
        view.sources = given_sources(None, len(self))
        return view

    def split(
        self,
        split: Split = "group",
        *,
        test_size: float = 0.25,
        seed: int = 27,
        split_dir: str | os.PathLike | None = None,
    ) -> tuple[Self, Self]:
        """Return a part to train on and a part to test on, by default without a source on both sides.

        Identical files count as one source; a warning tells where sources are not known.

        Args:
            split: "group" keeps the clips of a source together; "random" does not, and overstates the
                accuracy; "official" reads the lists in `split_dir`, and leaves out what is in none.
            test_size: Share of the clips to test on, for the splits that are not official.
            seed: Seed of the choice.
            split_dir: Folder of the lists, see `harkeras.data.split_by_files`.

        Raises:
            ValueError: If there is no split of that name, `split_dir` comes without "official" or the other
                way round, or the sources do not allow an honest split.
            FileNotFoundError: If the lists are missing.
        """
        joined = self.join_copies()
        if split == "group":
            warn_if_unknown(joined.sources)
        options = {"split": split, "test_size": test_size, "seed": seed, "split_dir": split_dir}
        train, test, words = split_clips(self.video_paths, self.labels, joined.sources, **options)
        parts = joined[train], joined[test]
        for part in parts:
            part.split_words = words
        return parts

    @property
    def clip_seconds(self) -> float | None:
        """Duration of the clips in seconds, the median of the files, which are opened for it, once.

        None where nobody said, and there are no files.
        """
        if self._clip_seconds is None and self.video_paths:
            self._clip_seconds = median_clip_seconds(self.video_paths)
        return self._clip_seconds


def _streams_of(features: np.ndarray) -> Streams | None:
    """Tell what an array of clips holds, where that can be told."""
    shape, dtype = tuple(features.shape), features.dtype
    if dtype == np.uint8 and len(shape) in (4, 5) and shape[-1] in (1, 3):
        return "rgb" if shape[-1] == 3 else "gray"
    if np.issubdtype(dtype, np.floating) and len(shape) == 4 and shape[-1] in (2, 3):
        return "pose"
    return None


class RowView:
    """Some rows of an array of clips, which stays where it is: in a cache larger than the memory, on disk."""

    def __init__(self, features: np.ndarray, rows: np.ndarray):
        """Look at rows of an array, or of another view."""
        if isinstance(features, RowView):
            features, rows = features.features, features.rows[rows]
        self.features, self.rows = features, rows
        self.shape, self.dtype = (len(rows), *features.shape[1:]), features.dtype

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.rows)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        """Read some of the rows."""
        return self.features[self.rows[index]]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """Read all rows into memory."""
        return np.asarray(self.features[self.rows], dtype=dtype)


def median_clip_seconds(video_paths: Sequence[str | os.PathLike]) -> float:
    """Return the median duration of clips in seconds: the window that a model trained on them should see.

    Raises:
        ValueError: If there is no clip.
        FileNotFoundError: If there is no such file.
        VideoError: If a clip cannot be read.
    """
    if not len(video_paths):
        raise ValueError("video_paths must name at least one clip, got none")
    infos = in_order(VideoInfo.read, video_paths, cpu_count())
    return float(np.median([info.duration_seconds - info.frame_seconds[0] for info in infos]))
