"""Events over MQTT, which home automation listens to; Home Assistant finds the actions by itself.

| topic | what |
|---|---|
| `<prefix>/events` | each event as JSON |
| `<prefix>/<action>/state` | ON while the action lasts, of whichever person, OFF otherwise; retained |
| `<prefix>/<action>/event` | the last event of the action as JSON; retained |
| `<prefix>/availability` | online, or offline, also when the process dies (the last will); retained |
| `homeassistant/binary_sensor/<prefix>/<action>/config` | what Home Assistant's discovery reads; retained |
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from harkeras.inference.events import ActionEvent
from harkeras.inference.sinks import EventSink, Say, warn

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_DISCOVERY = "homeassistant"
_MOST_WAITING = 1000  # messages
_LONGEST_PAUSE_SECONDS = 60
_CONNECT_SECONDS = 5.0
_FAREWELL_SECONDS = 5.0


class MqttSink(EventSink):
    """Publish events over MQTT, with a binary sensor for each action in Home Assistant.

    A thread of `paho-mqtt` delivers them, at least once each. While the broker cannot be reached it is tried
    again every minute, and up to 1000 messages wait. That it is down, and that it is back, is said once each.
    At the end 5 s are left to deliver what waits; how many events could not be delivered is said.

    Args:
        url: Such as mqtt://user:password@host:1883/prefix; mqtts:// for TLS. The port is 1883 or 8883 by
            default, the prefix "harkeras".
        actions: The actions that are watched for.
        say: Is told what goes wrong, from the thread; a warning by default.

    Raises:
        ValueError: If `url` is no such address.
        ImportError: If `paho-mqtt` is missing.
    """

    def __init__(self, url: str, *, actions: Sequence[str], say: Say = warn):
        """Start the thread, which connects."""
        host, port, tls, user, password, self.prefix = _read_address(url)
        self.name = f"MQTT broker {host}:{port}"
        self._say, self._down, self._closed, self._lost = say, False, False, 0
        self._topics = {name: f"{self.prefix}/{to_topic(name)}" for name in actions}
        self._open: dict[str, set[int | None]] = {name: set() for name in actions}
        self._waiting: dict[
            int, bool
        ] = {}  # number of each message that was not acknowledged: is it an event
        self._acknowledged: deque[int] = deque()  # filled by the thread
        self._client = client = _make_client()
        client.max_queued_messages_set(0)  # without a bound: ours is lower down
        client.reconnect_delay_set(1, _LONGEST_PAUSE_SECONDS)
        client.connect_timeout = _CONNECT_SECONDS
        if user is not None:
            client.username_pw_set(user, password)
        if tls:
            client.tls_set()
        client.will_set(f"{self.prefix}/availability", "offline", qos=1, retain=True)
        client.on_connect, client.on_connect_fail = self._connected, self._not_connected
        client.on_disconnect = self._disconnected
        client.on_publish = lambda _client, _data, number, *_: self._acknowledged.append(number)
        client.connect_async(host, port)
        client.loop_start()

    def on_event(self, event: ActionEvent) -> None:
        """Publish an event, and whether the action lasts."""
        people = self._open.setdefault(event.label, set())
        topic = self._topics.setdefault(event.label, f"{self.prefix}/{to_topic(event.label)}")
        people.add(event.person) if event.kind == "begin" else people.discard(event.person)
        body = json.dumps(event.to_dict())
        self._publish(f"{self.prefix}/events", body, event=True)
        self._publish(f"{topic}/event", body, retain=True)
        self._publish(f"{topic}/state", "ON" if people else "OFF", retain=True)

    def close(self) -> None:
        """Deliver what waits, for 5 s at most, say goodbye, and end the thread."""
        if self._closed:
            return
        self._closed = True
        self._publish(f"{self.prefix}/availability", "offline", retain=True)
        deadline = time.monotonic() + _FAREWELL_SECONDS
        while self._count_waiting() and self._client.is_connected() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._client.disconnect()
        self._client.loop_stop()
        self._count_waiting()
        if lost := self._lost + sum(self._waiting.values()):
            self._say(f"{self.name}: {lost} {'event was' if lost == 1 else 'events were'} not delivered")

    def _publish(self, topic: str, body: str, *, retain: bool = False, event: bool = False) -> None:
        if self._count_waiting() >= _MOST_WAITING:
            self._lost += event
            return
        # Of a broker that is down the answer is an error, but the message waits.
        self._waiting[self._client.publish(topic, body, qos=1, retain=retain).mid] = event

    def _count_waiting(self) -> int:
        while self._acknowledged:
            self._waiting.pop(self._acknowledged.popleft(), None)
        return len(self._waiting)

    def _connected(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._say_down(f"it refuses the connection ({reason})")
            return
        if self._down:
            self._say(f"{self.name}: it is back")
        self._down = False
        availability = f"{self.prefix}/availability"
        for name, topic in list(self._topics.items()):
            config = f"{_DISCOVERY}/binary_sensor/{to_topic(self.prefix)}/{to_topic(name)}/config"
            client.publish(config, json.dumps(self._discovery(name, topic)), qos=1, retain=True)
            state = "ON" if self._open[name] else "OFF"
            client.publish(f"{topic}/state", state, qos=1, retain=True)
        client.publish(availability, "online", qos=1, retain=True)

    def _discovery(self, name: str, topic: str) -> dict[str, Any]:
        node = to_topic(self.prefix)
        return {
            "name": name,
            "unique_id": f"{node}_{to_topic(name)}",
            "state_topic": f"{topic}/state",
            "json_attributes_topic": f"{topic}/event",
            "availability_topic": f"{self.prefix}/availability",
            "device": {"identifiers": [node], "name": self.prefix, "manufacturer": "harkeras"},
        }

    def _not_connected(self, _client: Client, _data: Any) -> None:
        self._say_down("it cannot be reached")

    def _disconnected(self, _client: Client, _data: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        if not self._closed:
            self._say_down("the connection is lost")

    def _say_down(self, problem: str) -> None:
        if not self._down:
            self._down = True
            self._say(f"{self.name}: {problem}; events wait until it takes them")


def to_topic(name: str) -> str:
    """Return a name as a part of a topic that Home Assistant takes; names that it changes get a digest."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)
    return plain if plain == name else f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _make_client() -> Client:
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise ImportError('MQTT needs a package more: pip install "harkeras[mqtt]"') from error
    return Client(CallbackAPIVersion.VERSION2)


def _read_address(url: str) -> tuple[str, int, bool, str | None, str | None, str]:
    """Return host, port, whether with TLS, user, password and prefix."""
    message = "url must be like mqtt://user:password@host:1883/prefix, or mqtts://"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{message}, got {url!r} ({error})") from error
    prefix = unquote(parts.path).strip("/") or "harkeras"
    wrong = not prefix.isprintable() or set(prefix) & set("+#") or set(url) & set("?#")
    if parts.scheme not in _PORTS or not parts.hostname or wrong:
        raise ValueError(f"{message}, got {url!r}")
    user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
    return parts.hostname, port or _PORTS[parts.scheme], parts.scheme == "mqtts", user, password, prefix
