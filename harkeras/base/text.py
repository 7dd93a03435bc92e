"""Text for others: names that they chose, in spreadsheets and on terminals, and lists in messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

# What a spreadsheet takes for the beginning of a formula, also as letters of full width.
_FORMULA = r"[=+\-@\t\r\n＝＋－＠]"  # noqa: RUF001
# They turn the direction of what follows, so that a name can look like another one.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def to_cell(text: str) -> str:
    """Return a text as a cell of a CSV file that no spreadsheet takes for a formula; see `from_cell`."""
    return f"'{text}" if re.match(f"'*{_FORMULA}", text) else text


def from_cell(text: str) -> str:
    """Return the text that `to_cell` wrote; others stay as they are."""
    return text[1:] if re.match(f"'+{_FORMULA}", text) else text


def printable(text: object) -> str:
    r"""Return a text on one line that steers no terminal: control characters become escapes, such as \x1b."""
    return "".join(_escape(letter) for letter in str(text))


def list_lines(headline: str, lines: Iterable[str]) -> str:
    """Return a headline and the lines below it, each line once."""
    return "\n  ".join([f"{headline}:", *dict.fromkeys(lines)])


def list_some(names: Sequence[str], most: int = 10) -> str:
    """Return names with commas between them, and how many more there are than `most`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: 1 clip, 2 clips."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Return a time in words of two units: 9.5 s, 2 min 05 s, 1 h 02 min."""
    if seconds < 60 and round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _escape(letter: str) -> str:
    if letter in _DIRECTIONS or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp"):
        return letter.encode("unicode_escape").decode("ascii")
    return letter
