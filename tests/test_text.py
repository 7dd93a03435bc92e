"""Names that others chose neither calculate in a spreadsheet nor steer a terminal."""

import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harkeras.base.text import counted, duration, from_cell, list_lines, printable, to_cell


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"]
)
def test_no_cell_begins_as_a_formula_does(text):
    for name in (text, "'" + text, "''" + text):
        assert to_cell(name) == "'" + name
        assert from_cell(to_cell(name)) == name


@pytest.mark.parametrize(
    "text", ["", "Falling", "turn (-)", "'quoted'", "a=b", "1-2", "Stürzen", "走る", " =1"]
)
def test_other_names_stay_as_they_are(text):
    assert to_cell(text) == from_cell(text) == text


def test_cells_survive_a_table():
    names, file = ["=a", "'=a", "b,c", 'd"e', "-f\ng"], io.StringIO(newline="")
    csv.writer(file).writerow(map(to_cell, names))
    assert [from_cell(cell) for cell in next(csv.reader(io.StringIO(file.getvalue(), newline="")))] == names


@given(st.text(st.characters() | st.sampled_from("'=+-@\t\r\n\x1b\u202e")))
def test_any_text_survives_and_neither_calculates_nor_steers(text):
    cell = to_cell(text)
    assert from_cell(cell) == text
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r", "\n")
    assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in printable(text))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Falling", "Falling"),
        ("Stürzen 走る 👩‍🚒", "Stürzen 走る 👩‍🚒"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\nb\rc\x00\x7f\x9b", r"a\nb\rc\x00\x7f\x9b"),
        ("caf\udce9", r"caf\udce9"),  # a file name that is not UTF-8
        ("gpj\u202e.exe", r"gpj\u202e.exe"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_printable(name, expected):
    assert printable(name) == expected


def test_list_lines_names_each_once():
    assert list_lines("2 were left out", ["a.mp4: empty", "b.mp4: cut off", "a.mp4: empty"]) == (
        "2 were left out:\n  a.mp4: empty\n  b.mp4: cut off"
    )


def test_numbers_and_times_are_said_as_people_say_them():
    assert [counted(number, "class", "classes") for number in (0, 1, 2)] == [
        "0 classes",
        "1 class",
        "2 classes",
    ]
    assert counted(1200, "clip") == "1,200 clips"
    times = {
        0: "0.0 s",
        9.46: "9.5 s",
        59.97: "1 min 00 s",
        125: "2 min 05 s",
        3600: "1 h 00 min",
        3725: "1 h 02 min",
    }
    assert {seconds: duration(seconds) for seconds in times} == times
