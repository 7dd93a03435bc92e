"""What the notebooks say in words is so in the outputs beside them: numbers, orders and reasons.

Each function yields parts of sentences, which must stand in the notebook, and whether they are so.
"""

import re

import nbformat
import pytest
from test_notebooks import NOTEBOOKS


def numbers(text, pattern):
    """Return the number behind each name that a pattern with two groups finds, line by line."""
    found = re.findall(pattern, text, re.MULTILINE)
    assert found, pattern
    return {name: float(value.replace(",", "")) for name, value in found}


def number(text, pattern):
    """Return the first number that a pattern with one group finds."""
    match = re.search(pattern, text, re.MULTILINE)
    assert match, pattern
    return float(match[1].replace(",", ""))


def rows(text, names):
    """Return the numbers in the last line that begins with each of some names."""
    lines = re.findall(rf"^({'|'.join(names)}) +(\d[\d. ]+)$", text, re.MULTILINE)
    table = {name: [float(value) for value in line.split()] for name, line in lines}
    assert set(table) == set(names)
    return table


def words_of_14(text):
    heads = numbers(text, r"^(\w+) +[\d.]+ +(\d\.\d+)  \S+ to ")
    in_order = min(heads.pop("lstm"), heads.pop("tcn"))
    yield "and the statistics guess which", max(heads.values()) < in_order - 0.1
    lrcn, statistics, lstm = rows(
        text, ("LRCN from scratch", "frozen backbone, mean_std_diff", "frozen backbone, lstm")
    ).values()
    yield "With two recordings LRCN is behind both heads.", lrcn[0] < min(statistics[0], lstm[0])
    yield "With more recordings LRCN catches up with the statistics", abs(lrcn[-1] - statistics[-1]) < 0.05
    yield "which soon stand still", max(statistics[1:]) - min(statistics[1:]) < 0.05
    yield "With eight recordings it is far ahead of LRCN.", lstm[2] > lrcn[2] + 0.1
    head, twin, tuned = (float(each) for each in re.findall(r" s, accuracy (\S+) \(", text))
    low = number(text, r"^6 more, fine-tuned .*\((\S+) to")
    yield "the twin, too, gained by training on", twin > head
    yield "less than the intervals can tell", low < twin < tuned
    yield "on recordings that took no part", "est clips took no part" in text


WORDS = {name[-2:]: each for name, each in globals().items() if name.startswith("words_of_")}


@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem[:2] in WORDS], ids=lambda path: path.stem
)
def test_words_are_held_by_the_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    words = " ".join(" ".join(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text") or output["data"].get("text/markdown", "") for output in outputs)
    for sentence, is_so in WORDS[path.stem[:2]](text):
        assert sentence in words
        assert is_so, sentence
