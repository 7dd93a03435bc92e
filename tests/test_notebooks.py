"""Every notebook runs from top to bottom with small constants, and lies here as one clean run left it.

`python tests/test_notebooks.py FOLDER [NAME ...]` makes that run in FOLDER, with the constants as they are:
for all of them, or for those named, such as 03_lrcn.
"""

import ast
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
NEED_WEIGHTS = {"14_transfer_learning"}
SMALL = {"GROUPS": 4, "CLIPS": 1, "FRAMES": 6, "EPOCHS": 1}
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def execute(notebook, folder):
    """Run a notebook in a folder, with a new kernel of this interpreter; its outputs are filled in."""
    env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}  # that of conftest.py
    env |= {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore:IProgress not found"}  # bars are for people
    NotebookClient(
        notebook,
        # Without folders to look in, "python3" is this interpreter, whatever is registered under that name.
        km=AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[])),
        extra_arguments=["--IPKernelApp.capture_fd_output=False"],  # what TensorFlow's C++ code logs
        coalesce_streams=True,
        record_timing=False,
        timeout=3600,
    ).execute(cwd=str(folder), env=env)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


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
    """Return the number of pictures under each cell, but for those that need Graphviz."""
    shown = [cell for cell in code_cells(notebook) if "plot_model_structure" not in cell.source]
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


# The first one covers what the others share; these take long together.
LATER = [pytest.param(path, marks=pytest.mark.slow) if path.stem > "02" else path for path in NOTEBOOKS]


@pytest.mark.parametrize("path", LATER, ids=lambda path: path.stem)
def test_notebook_runs(path, folder, monkeypatch):
    if path.stem in NEED_WEIGHTS:
        if not MODELS.is_dir():
            pytest.skip("no pretrained weights: ../shared/models is absent")
        monkeypatch.setenv("HARKERAS_ASSETS", str(MODELS))
    committed, notebook = (nbformat.read(path, as_version=4) for _ in range(2))
    first = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    small = [f"{name} = {value}" for name, value in SMALL.items() if name in constants(first)]
    small += ["import sys", f"assert sys.executable == {sys.executable!r}"]
    inserted = nbformat.v4.new_code_cell("\n".join(small))
    notebook.cells.insert(notebook.cells.index(first) + 1, inserted)
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


def main(folder, *names):
    """Run the notebooks, all or those named, with their own constants, and keep the outputs."""
    unknown = set(names) - {path.stem for path in NOTEBOOKS}
    if unknown:
        raise SystemExit(f"no notebook named {', '.join(sorted(unknown))}")
    for path in (path for path in NOTEBOOKS if not names or path.stem in names):
        notebook = nbformat.read(path, as_version=4)
        execute(notebook, folder)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
