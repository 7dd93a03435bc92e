"""Files of others, as published weights: from a folder of yours, from the cache, or from the internet.

Each has a name; `list_assets` says for each where it comes from, under which license, and how it is known.
What is found is checked before it is used, since weights that were cut short or changed on the way make a
network that is silently wrong. On a machine without internet, put the files into a folder, under the names in
the table, and let the environment variable `HARKERAS_ASSETS` name it.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
import warnings
from pathlib import Path

from tqdm import tqdm

from harkeras.assets.table import ASSETS, Asset
from harkeras.base.files import locked, publish

FOLDER_VARIABLE = "HARKERAS_ASSETS"
_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30


def list_assets() -> dict[str, Asset]:
    """Return all published files by name: URL, checksum, license, size and file name of each."""
    return dict(ASSETS)


def find_asset(name: str, *, download: bool = True, progress: bool = True) -> Path:
    """Find a published file: in the folder `HARKERAS_ASSETS`, in Keras's cache, or on the internet.

    A download goes to Keras's cache (`~/.keras/models`, or under `KERAS_HOME`). One that breaks off leaves a
    `.part` file, from which the next one goes on.

    Args:
        name: One of `list_assets()`.
        download: Whether to download what is in neither folder.
        progress: Show a progress bar on standard error.

    Returns:
        The file, whose checksum was right. A file that another one must lie beside has it there.

    Raises:
        ValueError: If there is no asset of that name, or a file of it has the wrong checksum.
        FileNotFoundError: If it is nowhere and there is nothing to download from, or `download` is False.
        OSError: If the download fails.

    Example:
        >>> find_asset("kinetics400_labels").read_text().splitlines()[0]
        'abseiling'
    """
    found = find_local_asset(name)
    if found is not None:
        return found
    cached = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"  # Keras's own
    assets = _asset_and_companion(name)
    for asset in assets:
        if not (cached / asset.file).is_file():
            if not download or asset.url is None:
                raise FileNotFoundError(_say_where_to_put(asset, cached))
            with locked(cached / asset.file):  # one process at a time
                if not (cached / asset.file).is_file():
                    _download(asset, cached / asset.file, progress)
    return _checked(assets, cached)


def find_local_asset(name: str) -> Path | None:
    """Find a published file in the folder `HARKERAS_ASSETS` alone; None where it is not there.

    Raises:
        ValueError: If there is no asset of that name, the variable names no folder, or the file there has the
            wrong checksum.
    """
    assets = _asset_and_companion(name)
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise ValueError(f"{FOLDER_VARIABLE} must name a folder, got {folder!r}")
    if not all((Path(folder) / asset.file).is_file() for asset in assets):
        return None
    return _checked(assets, Path(folder))


def _asset_and_companion(name: str) -> list[Asset]:
    """Return the asset of a name, and the one that must lie beside it, if there is one."""
    if name not in ASSETS:
        raise ValueError(f"name of an asset must be one of {', '.join(ASSETS)}, got {name!r}")
    asset = ASSETS[name]
    return [asset] if asset.beside is None else [asset, ASSETS[asset.beside]]


def _checked(assets: list[Asset], folder: Path) -> Path:
    """Return the file of the first asset in a folder, after a look at the checksums of all."""
    for asset in assets:
        _check(asset, folder / asset.file)
    return folder / assets[0].file


def _say_where_to_put(asset: Asset, cached: Path) -> str:
    # As Keras's own error for weights without internet: what is missing, and where it would be looked for.
    source = asset.url or f"the page {asset.page}"
    return (
        f"{asset.file} is neither in the folder {FOLDER_VARIABLE} "
        f"({os.environ.get(FOLDER_VARIABLE) or 'not set'}) nor in {cached}; get it from {source} and put it "
        "into one of them under this name"
    )


def _check(asset: Asset, file: Path) -> None:
    """Raise ValueError if the file is not the one that was published."""
    if asset.checksum is None:
        return
    kind, _, expected = asset.checksum.partition(":")
    got = _digest(kind, file)
    if not got.startswith(expected):
        raise ValueError(
            f"{file} is not the file that was published: its checksum ({kind}) must be {expected}, "
            f"got {got[: max(len(expected), 8)]}; delete it and get it again from {asset.url or asset.page}"
        )


def _digest(kind: str, file: Path) -> str:
    digest = hashlib.new("sha1" if kind == "git" else kind, usedforsecurity=False)
    if kind == "git":
        digest.update(b"blob %d\0" % file.stat().st_size)
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _download(asset: Asset, target: Path, progress: bool) -> None:
    """Download to `target`, which appears only when complete and right."""
    if asset.checksum is None:
        warnings.warn(
            f"{asset.file} was published without a checksum: it is used as it comes from {asset.url}",
            stacklevel=4,
        )
    partial = target.with_name(f"{target.name}.part")
    try:
        _fetch(asset, partial, progress)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise OSError(
            f"could not download {asset.url}: {reason}; try again, it goes on where it broke off, or put "
            f"{asset.file} into a folder and let {FOLDER_VARIABLE} name it"
        ) from error
    try:
        _check(asset, partial)
    except ValueError as error:
        partial.unlink()
        raise ValueError(f"what came from {asset.url} was refused and deleted: {error}") from error
    publish(partial, target)


def _fetch(asset: Asset, partial: Path, progress: bool) -> None:
    """Append to `partial` what it lacks; start anew where the server cannot send a rest."""
    done = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(asset.url, headers={"User-Agent": "harkeras"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the rest is empty: all is there already
            raise
        error.close()
        return
    with answer:
        if answer.status != 206:
            done = 0
        rest = answer.headers.get("Content-Length")
        total = asset.size if rest is None else done + int(rest)
        bar = tqdm(
            desc=asset.file, total=total, initial=done, unit="B", unit_scale=True, disable=not progress
        )
        with partial.open("ab" if done else "wb") as file, bar:
            while block := answer.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
                done += len(block)
    if rest is not None and done < total:
        raise OSError(f"the connection broke off after {done} of {total} bytes")
