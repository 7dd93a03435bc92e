"""Names of hosts and addresses, as they were typed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit


def check_hosts(hosts: Iterable[str]) -> frozenset[str]:
    """Return hosts as they are compared: in small letters; raise ValueError for what is no HOST[:PORT]."""
    checked = set()
    for host in hosts:
        parts = split_address(f"//{host}")
        if parts is None or not parts.hostname or parts.netloc != host or "@" in host:
            raise ValueError(f"allow_hosts must be names such as videos.example.org:8443, got {host!r}")
        checked.add(host.lower())
    return frozenset(checked)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host by this name."""
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host.lower() == "localhost"


def split_address(url: str) -> SplitResult | None:
    """Return the parts of an address; None for what is none."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  it is read when it is asked for
    except ValueError:
        return None
    return parts
