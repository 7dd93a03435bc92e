"""`harkeras watch`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harkeras.cli import options
from harkeras.cli.foreign import (
    ChannelOrder,
    Classes,
    ClipSeconds,
    InputShape,
    Interpolation,
    Normalize,
    Streams,
    read_foreign,
)
from harkeras.cli.prediction import (
    Hysteresis,
    MinSeconds,
    Model,
    Runtime,
    StrideSeconds,
    Threshold,
    newest_model,
)
from harkeras.cli.terminal import print_text, quiet

if TYPE_CHECKING:
    from harkeras.inference.events import ActionEvent
    from harkeras.inference.sinks import EventSink
    from harkeras.inference.watching import WatchState

# A line that is rewritten in place cannot be read if it changes more often; a log should not grow faster.
_REWRITE_SECONDS, _LOG_SECONDS = 0.2, 10.0
_WINDOW_NAME = "harkeras watch: q ends it"


Actions = Annotated[str | None, typer.Option(help="Watch for these actions only, separated by commas.")]
OnSeconds = Annotated[float, typer.Option(help="An action begins when it has held for so long.")]
OffSeconds = Annotated[float, typer.Option(help="It ends when it has been gone for so long.")]
Seconds = Annotated[
    float | None, typer.Option(help="Watch for so long; else until the source ends, or Ctrl-C.")
]
PerPerson = Annotated[
    bool, typer.Option("--per-person", help="Follow each person, and watch everyone's actions.")
]
Events = Annotated[Path | None, typer.Option(help="Append each event to this file, as a line of JSON.")]
Webhook = Annotated[str | None, typer.Option(help="POST each event to this address, http:// or https://.")]
Mqtt = Annotated[
    str | None,
    typer.Option(
        help="Publish to this MQTT broker, where Home Assistant finds it: mqtt://USER:PASSWORD@HOST/PREFIX."
    ),
]
Record = Annotated[Path | None, typer.Option(help="Keep a video clip of each event in this folder.")]
Window = Annotated[
    bool | None,
    typer.Option(
        "--window/--no-window",
        help="Show the picture in a window, or a line in the terminal; by default as there is a screen.",
    ),
]
SmoothingSeconds = Annotated[float, typer.Option(help="Average over this time; 0 for none.")]


def watch(
    source: Annotated[
        str,
        typer.Argument(help="Number of a camera, the address of a stream (rtsp://, http://), or a file."),
    ],
    model: Model = None,
    actions: Actions = None,
    on_seconds: OnSeconds = 1.0,
    off_seconds: OffSeconds = 1.0,
    seconds: Seconds = None,
    per_person: PerPerson = False,
    events: Events = None,
    webhook: Webhook = None,
    mqtt: Mqtt = None,
    record: Record = None,
    window: Window = None,
    stride_seconds: StrideSeconds = None,
    smoothing_seconds: SmoothingSeconds = 0.5,
    hysteresis: Hysteresis = 0.1,
    min_seconds: MinSeconds = 0.5,
    threshold: Threshold = 0.5,
    clip_seconds: ClipSeconds = None,
    classes: Classes = None,
    normalize: Normalize = None,
    channel_order: ChannelOrder = None,
    streams: Streams = None,
    interpolation: Interpolation = None,
    input_shape: InputShape = None,
    runtime: Runtime = None,
) -> None:
    """Watch a camera, a stream or a file, and tell when an action begins and ends.

    A file is played at its own speed. A camera that goes away is waited for. Ctrl-C ends it.
    """
    settings = {
        "actions": options.read_names(actions),
        "on_seconds": on_seconds,
        "off_seconds": off_seconds,
        "seconds": seconds,
        "per_person": per_person,
        "stride_seconds": stride_seconds,
        "smoothing_seconds": smoothing_seconds,
        "hysteresis": hysteresis,
        "min_seconds": min_seconds,
        "threshold": threshold,
        "runtime": runtime,
    }
    foreign = read_foreign(
        clip_seconds, classes, normalize, channel_order, streams, interpolation, input_shape
    )
    _watch(source, model, (events, record, webhook, mqtt), window, settings, foreign)


def _watch(
    source: str,
    model: Path | None,
    targets: tuple[Path | None, Path | None, str | None, str | None],
    window: bool | None,
    settings: dict[str, Any],
    foreign: dict[str, Any],
) -> None:
    """Print what happens, until it ends or is stopped."""
    with quiet():
        from harkeras.inference.resolve import load_named, resolve_model
        from harkeras.inference.watching import watch as watch_source
        from harkeras.video.addresses import check_source
        from harkeras.video.live import SourceEvent
    check_source(source)
    loaded = load_named(model or newest_model())
    recipe = resolve_model(loaded, **foreign).recipe
    classes, people = recipe.classes, settings["per_person"] or recipe.subject == "person"
    stop, screen = threading.Event(), _open_screen(window, people, classes)
    sinks: list[EventSink] = []

    def show(state: WatchState) -> None:
        if not screen.show(state):
            stop.set()

    found = watch_source(
        source,
        loaded,
        sinks=sinks,
        on_state=show,
        stop=stop,
        **settings,
        **foreign,
    )
    with ExitStack() as exits:
        exits.enter_context(_stopping(stop))
        exits.callback(screen.close)
        for sink in _open_sinks(classes, settings["actions"], screen.say, *targets):
            sinks.append(exits.enter_context(sink))
        exits.callback(found.close)  # before the sinks: they are told what ends
        for event in found:
            if isinstance(event, SourceEvent):
                screen.say(event.message)
            else:
                screen.tell(_describe(event))


def _open_sinks(
    classes: tuple[str, ...],
    actions: list[str] | None,
    say: Callable[[str], None],
    events: Path | None,
    record: Path | None,
    webhook: str | None,
    mqtt: str | None,
) -> Iterator[EventSink]:
    if events is not None:
        from harkeras.inference.sinks import JsonLinesSink

        yield JsonLinesSink(events)
    if record is not None:
        from harkeras.inference.event_clips import ClipRecorder

        yield ClipRecorder(record, classes=classes, say=say)
    if webhook is not None:
        from harkeras.inference.sinks import WebhookSink

        yield WebhookSink(webhook, say=say)
    if mqtt is not None:
        from harkeras.inference.mqtt_sink import MqttSink

        yield MqttSink(mqtt, actions=actions or classes, say=say)


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the loop, and a second one of them the program."""
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return

    def on_signal(number: int, _frame: Any) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe(event: ActionEvent) -> str:
    person = "" if event.person is None else f"  person {event.person}"
    held = "" if event.kind == "begin" else f"  after {event.seconds - event.begin_seconds:.1f} s"
    return (
        f"{event.time:%Y-%m-%d %H:%M:%S}  {event.kind:5}  {event.label}  {event.confidence:.0%}{person}"
        f"  at {event.seconds:.2f} s{held}"
    )


def _name(label: str, confidence: float) -> str:
    from harkeras.inference.decisions import UNSURE

    return label if label == UNSURE else f"{label} {confidence:.0%}"


def _name_people(state: WatchState) -> str:
    from harkeras.inference.decisions import UNSURE

    numbers = [person.number for person in state.people]
    labels = (f"{number}: {_name(*state.labels.get(number, (UNSURE, 0.0)))}" for number in numbers)
    return ", ".join(labels) or "nobody"


class _Terminal:
    """A line that says what is seen, rewritten in place, or now and then where that cannot be."""

    def __init__(self, people: bool) -> None:
        self._people = people
        self._in_place = sys.stderr.isatty()
        self._next = 0.0

    def show(self, state: WatchState) -> bool:
        """Show a state, and return whether to go on."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + (_REWRITE_SECONDS if self._in_place else _LOG_SECONDS)
            seen = _name_people(state) if self._people else _name(state.label, state.confidence)
            rate = f"{state.fps:.1f} frames/s  " if state.fps else ""
            line = f"{seen}  {rate}{1000 * state.lag_seconds:.0f} ms behind"
            self._write(line)
        return True

    def tell(self, text: str) -> None:
        """Print an event."""
        self._clear()
        print_text(text)
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Print what else there is to say."""
        self._clear()
        print_text(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._clear()

    def _write(self, line: str) -> None:
        from harkeras.base.text import printable

        line = printable(line)
        if self._in_place:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # 0 where nobody knows
            width = max(columns - 1, 20)
            print(f"\r{line[:width]}\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._in_place:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class _Window(_Terminal):
    """A window with the picture and what is seen in it."""

    def __init__(self, people: bool, classes: tuple[str, ...]):
        import cv2

        super().__init__(people)
        self._classes = classes
        cv2.namedWindow(_WINDOW_NAME, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    def show(self, state: WatchState) -> bool:
        """Show a state, and return whether to go on: not after q, Esc, or when the window was closed."""
        import cv2

        from harkeras.inference.watching import draw_state

        cv2.imshow(_WINDOW_NAME, draw_state(state, self._classes)[..., ::-1])
        key = cv2.waitKey(1) & 0xFF
        return key not in (27, ord("q")) and cv2.getWindowProperty(_WINDOW_NAME, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Close the window."""
        import cv2

        cv2.destroyAllWindows()


def _open_screen(window: bool | None, people: bool, classes: tuple[str, ...]) -> _Terminal:
    """Open a window, or write to the terminal, as asked for, or as there is a screen."""
    if window is None:
        window = _has_screen() and sys.stderr.isatty()
    elif window and not _has_screen():
        raise ValueError("--window needs a screen: there is neither DISPLAY nor WAYLAND_DISPLAY")
    if not window:
        return _Terminal(people)
    import cv2

    try:
        return _Window(people, classes)
    except cv2.error:
        raise ValueError("--window needs an OpenCV with windows, as in the package opencv-python") from None


def _has_screen() -> bool:
    return sys.platform in ("win32", "darwin") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
