"""Files of others, as published weights: from a folder of yours, the cache, a package, or the internet.

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
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from tqdm import tqdm

from harkeras.assets.table import ASSETS, STAND_INS, Asset
from harkeras.base.files import locked, publish

FOLDER_VARIABLE = "HARKERAS_ASSETS"
Place = Literal["folder", "cache", "package"]
PLACES: tuple[Place, ...] = ("folder", "cache", "package")
_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 30


def list_assets() -> dict[str, Asset]:
    """Return all published files by name: URL, checksum, license, size and file name of each."""
    return dict(ASSETS)


class LocalAsset(NamedTuple):
    """A published file that is on this machine, and where it was found, in words."""

    path: Path
    place: str


def find_asset(name: str, *, download: bool = True, progress: bool = True) -> Path:
    """Find a published file: where `find_local_asset` looks, else on the internet.

    A download goes to Keras's cache (`~/.keras/models`, or under `KERAS_HOME`). One that breaks off leaves a
    `.part` file, from which the next one goes on.

    Args:
        name: One of `list_assets()`.
        download: Whether to download what is not here.
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
        return found.path
    cached, assets = _keras_cache(), _asset_and_companion(name)
    for asset in assets:
        if not (cached / asset.file).is_file():
            if not download or asset.url is None:
                raise FileNotFoundError(_say_where_to_put(asset, cached))
            with locked(cached / asset.file):  # one process at a time
                if not (cached / asset.file).is_file():
                    _download(asset, cached / asset.file, progress)
    return _checked(assets, cached)


def find_local_asset(name: str, places: Sequence[Place] = PLACES) -> LocalAsset | None:
    """Find a published file on this machine; None where it is not.

    Args:
        name: One of `list_assets()`.
        places: Where to look, in this order: "folder" is the folder `HARKERAS_ASSETS`, "cache" that where
            Keras keeps its downloads, "package" a Python package that has the file inside.

    Raises:
        ValueError: If there is no asset of that name, the variable names no folder, or the file there has the
            wrong checksum.
    """
    assets = _asset_and_companion(name)
    for place in places:
        if place == "package":
            file = _find_in_package(assets[0])
            if file is not None:
                _check(assets[0], file)
                return LocalAsset(file, f"the package {assets[0].package}")
            continue
        folder = _keras_cache() if place == "cache" else _named_folder()
        choices = [assets, [STAND_INS[name]]] if place == "folder" and name in STAND_INS else [assets]
        for choice in choices if folder is not None else ():
            if all((folder / asset.file).is_file() for asset in choice):
                words = "Keras's cache" if place == "cache" else f"the folder {FOLDER_VARIABLE}"
                return LocalAsset(_checked(choice, folder), words)
    return None


def _named_folder() -> Path | None:
    """Return the folder HARKERAS_ASSETS; None if the variable is not set."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder and not Path(folder).is_dir():
        raise ValueError(f"{FOLDER_VARIABLE} must name a folder, got {folder!r}")
    return Path(folder) if folder else None


def _keras_cache() -> Path:
    """Return where Keras keeps its downloads."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"


def _find_in_package(asset: Asset) -> Path | None:
    """Find a file of an installed package, of which nothing is imported."""
    if asset.package is None:
        return None
    try:
        files = metadata.distribution(asset.package).files or ()
    except metadata.PackageNotFoundError:
        return None
    found = (Path(file.locate()) for file in files if file.name == asset.file)
    return next((path for path in found if path.is_file()), None)


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
    missing = (
        f"{asset.file} is neither in the folder {FOLDER_VARIABLE} "
        f"({os.environ.get(FOLDER_VARIABLE) or 'not set'}) nor in {cached}"
    )
    if asset.package is not None:
        return f"{missing}; it comes with pip install {asset.package}"
    source = asset.url or f"the page {asset.page}"
    return f"{missing}; get it from {source} and put it into one of them under this name"


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
    if asset.checksum is None:
        warnings.warn(
            f"{asset.file} was published without a checksum: it is used as it comes from {asset.url}",
            stacklevel=4,
        )
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
