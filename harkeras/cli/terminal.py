"""What the commands write to the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from harkeras.base.text import printable


def print_text(text: object, file: TextIO | None = None) -> None:
    """Print text whose names come from files that others made: they steer no terminal."""
    print("\n".join(map(printable, str(text).split("\n"))), file=file)


def print_segments(segments: Iterable[tuple]) -> None:
    """Print start, end and label, and the confidence where there is one."""
    for start, end, label, *confidence in segments:
        shares = "".join(f"  {value:.0%}" for value in confidence)
        print_text(f"  {start:7.2f} s  to {end:7.2f} s  {label}{shares}")


def print_files(files: dict[str, Path]) -> None:
    """Print where each file lies."""
    width = max(map(len, files), default=0)
    print_text("\n".join(["", *(f"{name:>{width}}: {path}" for name, path in files.items()), ""]))


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what TensorFlow's C++ code writes while it is loaded; show it if loading fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(saved, held_back.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
