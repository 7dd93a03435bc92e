"""Every block of code in README.md runs, with fewer epochs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from user_script import name_actions

from harkeras import list_classes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for language, code in BLOCKS:
        if language == "python":
            exec(code.replace("EPOCHS, SEED = 20, 64, 64, 40, 27", "EPOCHS, SEED = 4, 64, 64, 1, 27"), names)
    assert names["FRAMES"] == 4
    assert len(names["prediction"].segments) >= 1
    assert (tmp_path / "data" / "actions.mp4").stat().st_size > 1000


def test_a_users_script_runs(tmp_path):
    actions = name_actions(tmp_path, shape=(4, 64, 64, 3), epochs=1)
    assert actions
    assert set(actions) <= {*list_classes(tmp_path / "sample"), "unsure"}
    assert (tmp_path / "actions.mp4").stat().st_size > 1000


@pytest.mark.slow
def test_commands_run_in_order(tmp_path):
    for language, code in BLOCKS:
        for line in code.splitlines() if language == "bash" else []:
            if "pip install" in line:  # .ci/run runs these two as they stand
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
    commands = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]
    installing = [line for line in commands if "pip install" in line]
    assert len(installing) == 2
    for line in installing:
        assert line in script


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_to_files(link):
    assert (ROOT / link).exists()
