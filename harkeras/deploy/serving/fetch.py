"""Fetch a video from an address that a client names, and nothing that it should not reach through us."""

from __future__ import annotations

import errno
import http.client
import ipaddress
import socket
import ssl
import time
from http import HTTPStatus
from pathlib import Path
from urllib.parse import SplitResult, quote, urljoin

from harkeras.deploy.serving.errors import refuse
from harkeras.deploy.serving.hosts import split_address

_PORTS = {"http": 80, "https": 443}
_MOST_REDIRECTS = 5
_SILENCE_SECONDS = 10.0
_BLOCK = 1 << 18
_SAFE = "%/:=&?~#+!$,;'@()*[]"  # of an address that is quoted already


def fetch_video(url: str, target: Path, allow_hosts: frozenset[str], most_bytes: int, seconds: float) -> None:
    """Download a file over HTTP from a host that is allowed.

    A name stands for the default ports, and for another one with it, as in "videos.example.org:8443". Where
    a name leads to an address that is not public, that address must be allowed too, by its number: a
    name in the hands of others thus opens no way into this network. Redirects stay on their host.

    Args:
        url: What a client asks for.
        target: The file to write.
        allow_hosts: See `check_hosts`.
        most_bytes: How large the file may be.
        seconds: How long all of it may take.

    Raises:
        HTTPException: 403 for an address that is not allowed, 408 if it takes too long, 413 if the file is
            too large, 422 for what is no address, 502 if the host does not give it, 507 if the disk is full.
    """
    deadline = time.monotonic() + seconds
    first = host = None
    for _ in range(_MOST_REDIRECTS + 1):
        parts = split_address(url)
        if parts is None or parts.scheme not in _PORTS or not parts.hostname:
            raise refuse(422, f"url must be an address with http:// or https://, got {url[:200]!r}")
        host = parts.hostname.lower()
        first = first or host
        if host != first:
            raise refuse(403, f"{first} sends to another host, {host}, where nothing is fetched")
        address = _find_address(parts, allow_hosts)
        try:
            moved = _download(parts, address, target, most_bytes, deadline)
        except TimeoutError as error:
            raise refuse(408, f"{host} does not give the file within {seconds:g} seconds") from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise refuse(507, f"the video cannot be stored: {error.strerror}") from error
            raise refuse(502, f"{host} does not give the file: {str(error) or repr(error)}") from error
        if moved is None:
            return
        url = _join(url, moved)
    raise refuse(502, f"{host} sends from address to address without an end")


def _join(url: str, moved: str) -> str:
    try:
        return urljoin(url, moved)
    except ValueError:
        return moved


def _find_address(parts: SplitResult, allow_hosts: frozenset[str]) -> str:
    """Return the number of an allowed host, so that what was checked is what is connected to."""
    port = parts.port or _PORTS[parts.scheme]
    host = parts.hostname.lower()
    if not _is_allowed(host, port, parts.scheme, allow_hosts):
        raise refuse(403, f"nothing is fetched from {host}, port {port}: --allow-host names what is allowed")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise refuse(502, f"there is no host {host}") from error
    for *_, (address, *_) in found:
        if not _is_public(address) and not _is_allowed(address, port, parts.scheme, allow_hosts):
            raise refuse(403, f"{host} is not a public address: such a one must be allowed by its number")
    return found[0][-1][0]


def _is_allowed(host: str, port: int, scheme: str, allow_hosts: frozenset[str]) -> bool:
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" in allow_hosts or (port == _PORTS[scheme] and name in allow_hosts)


def _is_public(address: str) -> bool:
    number = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(number, "ipv4_mapped", None)
    return (mapped or number).is_global and not number.is_multicast


def _download(parts: SplitResult, address: str, target: Path, most_bytes: int, deadline: float) -> str | None:
    """Download to a file; return where it lies if the host sends elsewhere."""
    connection = _connect(parts, address)
    try:
        path = quote(f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", _SAFE)
        connection.request("GET", path, headers={"User-Agent": "harkeras", "Accept-Encoding": "identity"})
        answer = connection.getresponse()
        if answer.status in (301, 302, 303, 307, 308) and answer.headers["Location"]:
            return answer.headers["Location"]
        if answer.status != HTTPStatus.OK:
            raise http.client.HTTPException(f"it answers {answer.status} {answer.reason}")
        known = answer.length is not None
        left = most_bytes - (answer.length or 0)  # of one whose length is known, all is counted at once
        with target.open("wb") as file:
            while left >= 0 and (block := answer.read1(_BLOCK)):
                left -= 0 if known else len(block)
                if time.monotonic() > deadline:
                    raise TimeoutError
                file.write(block)
        if left < 0:
            raise refuse(413, f"a video may have {most_bytes / 1e6:g} megabytes")
        if answer.length:
            raise http.client.HTTPException("it hangs up in the middle")
        return None
    finally:
        connection.close()


def _connect(parts: SplitResult, address: str) -> http.client.HTTPConnection:
    """Connect to the address that was checked; TLS still asks for the certificate of the name."""
    port = parts.port or _PORTS[parts.scheme]
    connection = http.client.HTTPConnection(parts.hostname, port, timeout=_SILENCE_SECONDS)
    connection.sock = socket.create_connection((address, port), _SILENCE_SECONDS)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection.sock = context.wrap_socket(connection.sock, server_hostname=parts.hostname)
    return connection
