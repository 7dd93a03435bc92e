"""Every block of code in README.md, and in the pages that it leads to, runs; with fewer epochs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from user_script import name_actions

from harkeras import list_classes

ROOT = Path(__file__).parents[1]
# In the order of reading: Python on a later page goes on with the names of the pages before.
FOLDERS = [".", "data", "saved_models", "harkeras/models", "notebooks", "tests/benchmarks"]
PAGES = {folder: (ROOT / folder / "README.md").read_text(encoding="utf-8") for folder in FOLDERS}
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", "\n".join(PAGES.values()), re.DOTALL | re.MULTILINE)
COMMANDS = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]
INSTALLING = [line for line in COMMANDS if "pip install" in line]
LINKS = [(folder, link) for folder, page in PAGES.items() for link in re.findall(r"\]\(([^)#:]+)\)", page)]


@pytest.mark.slow
def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for language, code in BLOCKS:
        if language == "python":
            exec(code.replace("EPOCHS, SEED = 20, 64, 64, 40, 27", "EPOCHS, SEED = 4, 64, 64, 1, 27"), names)
    assert names["FRAMES"] == 4
    assert len(names["prediction"].segments) >= 1
    assert (tmp_path / "data" / "actions.mp4").stat().st_size > 1000


def test_a_users_script_runs(tmp_path, eager):
    actions = name_actions(tmp_path, shape=(4, 64, 64, 3), epochs=1)
    assert actions
    assert set(actions) <= {*list_classes(tmp_path / "sample"), "unsure"}
    assert (tmp_path / "actions.mp4").stat().st_size > 1000


@pytest.mark.slow
def test_commands_run_in_order(tmp_path):
    for line in COMMANDS:
        if line in INSTALLING:  # .ci/run runs these two as they stand
            continue
        program, *arguments = shlex.split(line.replace("--epochs 40", "--epochs 1 --frames 4"))
        program = {"python": [sys.executable], "harkeras": [sys.executable, "-m", "harkeras"]}[program]
        result = subprocess.run(
            [*program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{line}\n{result.stderr}"
    assert (tmp_path / "data" / "actions.csv").read_text().startswith("start_seconds,")


def test_ci_runs_the_two_commands_as_they_stand():
    script = (ROOT / ".ci" / "run").read_text()
    assert len(INSTALLING) == 2
    assert all(line in script for line in INSTALLING)


def test_readme_is_one_page():
    assert len(PAGES["."].splitlines()) <= 150


def test_the_first_picture_moves_and_all_are_small():
    links = re.findall(r"!\[.*\]\((.*)\)", PAGES["."])
    assert len(links) == 5
    assert sum((ROOT / link).stat().st_size for link in links) < 1_000_000
    with Image.open(ROOT / links[0]) as picture:
        assert picture.n_frames > 50


@pytest.mark.parametrize(("folder", "link"), sorted(set(LINKS)))
def test_links_lead_to_files(folder, link):
    assert (ROOT / folder / link).exists()
