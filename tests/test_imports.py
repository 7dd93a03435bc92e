"""The rooms import one way (the contracts of pyproject.toml), load lazily, and list what is public."""

import ast
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import harkeras

PACKAGE = Path(harkeras.__file__).parent
ROOT = PACKAGE.parent
HEAVY = {"tensorflow", "keras", "cv2", "av", "numpy", "matplotlib", "sklearn", "scipy"}
# Rooms that load a public name when it is first used; `models` registers all builders instead.
LAZY = [room for name in harkeras.__all__ if hasattr(room := getattr(harkeras, name), "__path__")]
LAZY.remove(harkeras.models)


def test_contracts_of_pyproject():
    # In a process of its own: it disables the loggers of the one that it runs in.
    lint = "import sys, importlinter.cli as cli; sys.exit(cli.lint_imports(no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def imports_of(source):
    """The names of harkeras that a file imports anywhere, as (module, name)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            if node.module.split(".")[0] == "harkeras":
                yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_names_come_from_their_module_and_underscored_ones_stay_in_the_room(path):
    doors = ["harkeras", *(room.__name__ for room in LAZY)]
    room = ".".join(path.relative_to(ROOT).with_suffix("").parts[:2])
    for module, name in imports_of(path.read_text()):
        is_module = (ROOT / module.replace(".", "/") / f"{name}.py").exists()
        assert is_module or module not in doors, f"import {name} from its module, not from {module}"
        assert not name.startswith("_") or f"{module}.".startswith(f"{room}."), (
            f"{module}.{name} is underscored"
        )


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_a_model_imports_only_what_families_share(path):
    source = path.read_text()
    if "@register(" in source and path.stem != "multiresolution":  # which is three fusions
        shared = {"registry", "blocks", "backbones", "_inception", "_sports1m", "_movinet_blocks"}
        assert {module for module, _ in imports_of(source)} <= {f"harkeras.models.{name}" for name in shared}


def loaded_by(statement):
    """The modules that a statement loads in a fresh process."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(run.stdout.split())


def test_importing_the_package_and_its_rooms_is_instant():
    rooms = ", ".join(room.__name__ for room in LAZY)
    assert not loaded_by(f"import harkeras, {rooms}\nassert harkeras.data.__all__") & HEAVY


def test_data_sets_do_not_need_tensorflow():
    loaded = loaded_by("from harkeras.data import create_dataset, split_by_group")
    assert not loaded & {"tensorflow", "keras", "matplotlib"}


def test_names_in_prose_exist():
    for path in [
        *PACKAGE.rglob("*.py"),
        *PACKAGE.rglob("*.md"),
        *ROOT.glob("README.md"),
        *ROOT.glob("*/README.md"),
    ]:
        for name in re.findall(r"`(harkeras(?:\.\w+)+)", path.read_text(encoding="utf-8")):
            assert pydoc.locate(name), f"{path} names {name}"


def code_of(path):
    if path.suffix == ".py":
        return path.read_text()
    cells = nbformat.read(path, as_version=4).cells
    return re.sub(
        r"^%.*", "", "\n".join(cell.source for cell in cells if cell.cell_type == "code"), flags=re.M
    )


SCRIPTS = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "tests" / "benchmarks").glob("*.py")]


@pytest.mark.parametrize("path", sorted(SCRIPTS), ids=lambda path: path.stem)
def test_notebooks_and_benchmarks_name_what_is_there(path):
    source = code_of(path)
    names = {f"{module}.{name}" for module, name in imports_of(source)}
    names |= {ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    for name in names:
        assert not re.fullmatch(r"harkeras(\.\w+)+", name) or pydoc.locate(name), name


@pytest.mark.parametrize("module", [harkeras, harkeras.models, *LAZY], ids=lambda module: module.__name__)
def test_public_names_exist_and_are_documented(module):
    assert len(module.__all__) == len(set(module.__all__))
    for name in module.__all__:
        assert name == name.upper() or getattr(module, name).__doc__, name
