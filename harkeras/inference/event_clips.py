"""A video clip of each event, from some seconds before it to its end."""

from __future__ import annotations

import math
import os
import queue
import re
import threading
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path

import cv2
import numpy as np

from harkeras.inference.events import ActionEvent
from harkeras.inference.sinks import EventSink, Say, warn
from harkeras.video.drawing import class_color, draw_caption
from harkeras.video.writing import VideoWriter

_FPS = 30  # nominal: each frame has its own time
_MOST_WAITING = 8  # frames
_MEMORY_BYTES = 64 << 20
_JPEG_QUALITY = 90
_LONGEST_SECONDS = 600.0
_FAREWELL_SECONDS = 30.0
_LABEL_LETTERS = 40


class ClipRecorder(EventSink):
    """Write an H.264 clip of each event into a folder, `<date>__<time>__<label>.mp4`, with the label drawn.

    A clip goes from `before_seconds` before its event to the moment at which its end is told, and is no
    longer than 10 minutes. Each frame stands in it at its own time. The last frames are kept as JPEG in at
    most 64 MiB of memory, about half a minute of 30 frames per second in 1280 x 720 pixels. A thread takes
    them in and, when none waits, writes clips out of that memory, so that a machine that is busy at the
    moment of an event is late and leaves nothing out. Up to 8 frames wait to be taken in; those that find no
    place, or leave the memory before they were written, are counted at the end. A clip that cannot be written
    is said, and the others go on.

    At the end, clips of events that still last are finished. A clip is there whole or not at all.

    Args:
        folder: Where clips go; made if missing.
        classes: Names of the classes, which have the colors that they have in other pictures.
        before_seconds: How much to show of what came before.
        say: Is told what goes wrong, from the thread; a warning by default.

    Raises:
        ValueError: If `before_seconds` is below 0.
        OSError: If the folder cannot be made or written.
    """

    needs_frames = True

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        classes: tuple[str, ...],
        before_seconds: float = 3.0,
        say: Say = warn,
    ):
        """Make the folder and start the thread."""
        if not before_seconds >= 0:
            raise ValueError(f"before_seconds must be at least 0, got {before_seconds}")
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK):
            raise PermissionError(13, "the folder cannot be written", str(folder))
        self._classes, self._before, self._say = classes, before_seconds, say
        self._queue: queue.SimpleQueue[tuple | ActionEvent | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(_MOST_WAITING)
        self._left_out, self._unwritten = 0, 0  # counted in the caller's thread, and in that of the clips
        self._past: deque[tuple[float, np.ndarray]] = deque()  # seconds and JPEG
        self._past_bytes = 0
        self._count = 0  # frames taken in; the last ones of them are the past
        self._clips: list[_Clip] = []
        self._open: dict[tuple[str, int | None], _Clip] = {}  # those of events that last
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="clips of events", daemon=True)
        self._thread.start()

    def on_event(self, event: ActionEvent) -> None:
        """Begin or end a clip."""
        self._queue.put(event)

    def on_frame(self, image: np.ndarray, seconds: float, label: str | None, confidence: float) -> None:
        """Take in a frame, if there is room for it."""
        if self._room.acquire(blocking=False):
            self._queue.put((image, seconds, label, confidence))
        else:
            self._left_out += 1

    def close(self) -> None:
        """Finish all clips; it takes 30 s at most."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join(_FAREWELL_SECONDS)
        if count := self._left_out + self._unwritten:
            self._say(f"{self.folder}: {count} frames were left out of the clips: writing was too slow")
        if self._thread.is_alive():
            self._say(f"{self.folder}: the last clips could not be finished in {_FAREWELL_SECONDS:.0f} s")

    def _work(self) -> None:
        while True:
            try:
                item = self._queue.get(block=not self._clips_behind())
            except queue.Empty:
                self._write_next(self._clips_behind()[0])
                continue
            if item is None:
                break
            if not isinstance(item, ActionEvent):
                self._room.release()
                self._take_in(*item)
            elif item.kind == "begin":
                self._begin(item)
            elif clip := self._open.pop((item.label, item.person), None):
                clip.stop = self._count
        for clip in self._clips:
            clip.stop = min(clip.stop, self._count)
        while behind := self._clips_behind():
            self._write_next(behind[0])

    def _take_in(self, image: np.ndarray, seconds: float, label: str | None, confidence: float) -> None:
        if label is not None:
            image = image.copy()
            draw_caption(image, label, confidence, class_color(label, self._classes))
        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1]
        self._past.append((seconds, jpeg))
        self._past_bytes += jpeg.nbytes
        self._count += 1
        while self._past_bytes > _MEMORY_BYTES:
            self._past_bytes -= self._past.popleft()[1].nbytes

    def _begin(self, event: ActionEvent) -> None:
        # From the first of the last frames in a row that are near enough: others are of a clock set back.
        first, after = self._count, math.inf
        for seconds, _ in reversed(self._past):
            if not event.seconds - self._before <= seconds <= after:
                break
            first, after = first - 1, seconds
        clip = _Clip(self._free_name(event), first)
        self._clips.append(clip)
        self._open[event.label, event.person] = clip

    def _clips_behind(self) -> list[_Clip]:
        """Return the clips that have something to write, or to finish."""
        return [clip for clip in self._clips if clip.next < self._count or clip.next >= clip.stop]

    def _write_next(self, clip: _Clip) -> None:
        """Write the next frame of a clip, or finish it."""
        gone = max(self._count - len(self._past) - clip.next, 0)
        if gone:
            self._unwritten += gone
            clip.next += gone
        if clip.next >= clip.stop:
            if self._try(clip.close, clip):
                self._clips.remove(clip)
            return
        seconds, jpeg = self._past[clip.next - self._count]
        image = cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        clip.next += 1
        self._try(lambda: clip.write(image, seconds), clip)

    def _free_name(self, event: ActionEvent) -> Path:
        label = re.sub(r"[^\w-]+", "_", event.label)[:_LABEL_LETTERS]
        name = f"{event.time:%Y-%m-%d__%H-%M-%S}__{label}"
        if event.person is not None:
            name += f"__person-{event.person}"
        taken = {clip.path for clip in self._clips}
        number, path = 1, self.folder / f"{name}.mp4"
        while path in taken or path.exists():
            number += 1
            path = self.folder / f"{name}__{number}.mp4"
        return path

    def _try(self, work, clip: _Clip) -> bool:
        try:
            work()
        except (OSError, ValueError, MemoryError) as error:
            clip.give_up(error)
            self._clips.remove(clip)
            self._say(f"{clip.path}: the clip could not be written ({error})")
            return False
        return True


class _Clip:
    """A clip that is being written; its file is opened with the first frame.

    Attributes:
        next: Number of the frame that is written next.
        stop: Number of the first frame that is not.
    """

    def __init__(self, path: Path, first: int):
        self.path, self.next, self.stop = path, first, math.inf
        self._writer: VideoWriter | None = None
        self._exits = ExitStack()

    def write(self, image: np.ndarray, seconds: float) -> None:
        if self._writer is None:
            self._writer = self._exits.enter_context(VideoWriter(self.path, _FPS))
            self._start, self._last, self._size = seconds, -1.0, image.shape[:2]
        moment = seconds - self._start
        if moment < self._last + self._writer.least_step_seconds:  # as after a clock that was set back
            return
        if image.shape[:2] != self._size:
            image = cv2.resize(image, self._size[::-1], interpolation=cv2.INTER_AREA)
        self._writer.write(image, moment)
        self._last = moment
        if moment >= _LONGEST_SECONDS:
            self.stop = self.next

    def close(self) -> None:
        self._exits.close()

    def give_up(self, error: BaseException) -> None:
        with suppress(OSError, ValueError):  # it is known that it cannot be written
            self._exits.__exit__(type(error), error, error.__traceback__)
