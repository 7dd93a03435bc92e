"""The import rule: a module imports only from lower levels."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import harkeras

PACKAGE = Path(harkeras.__file__).parent
# The rooms, in the order in which a clip walks through them; those of one line do not know each other.
ROOMS = [
    ["base"],
    ["recipe", "assets"],
    ["video"],
    ["data"],
    ["models"],
    ["pretrained", "training"],
    ["inference"],
    ["transfer"],
    ["evaluation"],
    ["workflow"],
    ["cli"],
    ["__main__"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
HEAVY = ("tensorflow", "keras", "cv2", "av", "numpy", "matplotlib", "sklearn", "scipy")
# What a module is called "harkeras.x.y"; the package itself imports lazily and is checked by running it.
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def dotted(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """The modules of harkeras that a file imports anywhere, with dots, and the names that it takes from "
    "them."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name: [] for name in node.names if name.name.split(".")[0] == "harkeras"}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            if node.module.split(".")[0] != "harkeras":
                continue
            for name in node.names:
                # `from harkeras.video import flow` imports the module harkeras.video.flow.
                whole = f"{node.module}.{name.name}"
                if whole in map(dotted, MODULES):
                    found.setdefault(whole, [])
                else:
                    found.setdefault(node.module, []).append(name.name)
    return found


# Rooms that load a public name when it is first used; `models` registers all builders instead.
LAZY = {room: getattr(harkeras, room) for room in harkeras.__all__ if room in FLOOR_OF and room != "models"}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_room_imports_only_from_rooms_before_it(path):
    room = dotted(path).split(".")[1]
    assert room in FLOOR_OF, f"give {room} a floor"
    for module, names in imports_of(path).items():
        assert module.removeprefix("harkeras.") not in ("harkeras", *LAZY), (
            f"{path}: import from the module itself"
        )
        other, *inside = module.split(".")[1:]
        assert other == room or FLOOR_OF[other] < FLOOR_OF[room], f"{dotted(path)} imports {module}"
        hidden = [name for name in (*inside, *names) if name.startswith("_")]
        assert other == room or not hidden, f"{dotted(path)} imports {hidden} of {module}"


def test_no_circles():
    below = {dotted(path): {name for name in imports_of(path)} for path in MODULES}
    TopologicalSorter(below).prepare()  # CycleError names one


SHARED_BY_FAMILIES = {"registry", "blocks", "backbones", "_sports1m", "_movinet_blocks"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("[a-z]*.py")), ids=dotted)
def test_a_model_imports_only_what_families_share(path):
    if "@register(" in path.read_text() and path.stem != "multiresolution":  # which is three fusions
        assert imports_of(path).keys() <= {f"harkeras.models.{name}" for name in SHARED_BY_FAMILIES}


def loaded_by(statement):
    """The modules that a statement loads in a fresh process."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(run.stdout.split())


def test_importing_the_package_is_instant():
    assert not loaded_by("import harkeras") & set(HEAVY)


def test_data_sets_do_not_need_tensorflow():
    assert not loaded_by("import harkeras.data.datasets, harkeras.data.splits") & {
        "tensorflow",
        "keras",
        "matplotlib",
    }


def test_naming_the_rooms_loads_nothing_heavy():
    rooms = ", ".join(f"harkeras.{room}" for room in LAZY)
    assert not loaded_by(f"import harkeras, {rooms}\nassert harkeras.data.__all__") & set(HEAVY)


@pytest.mark.parametrize(
    "module", [harkeras, harkeras.models, *LAZY.values()], ids=lambda module: module.__name__
)
def test_public_names_exist_and_are_documented(module):
    assert module.__all__ == sorted(set(module.__all__))
    for name in module.__all__:
        assert name == name.upper() or getattr(module, name).__doc__, name
