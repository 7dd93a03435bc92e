"""The import rule: a module imports only from lower levels."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import harkeras

PACKAGE = Path(harkeras.__file__).parent
# Modules of a level do not import each other; those of `models/` have a rule of their own below.
LEVELS = [
    [
        "_addresses",
        "_files",
        "_text",
        "_group_balance",
        "_keras_state",
        "_configs",
        "_frame_times",
        "_packets",
        "_pixels",
    ],
    ["sources", "split_lists", "_scans"],
    ["intervals", "plots"],
    [
        "_annotation_formats",
        "_clip_cache",
        "_asset_table",
        "_download_reasons",
        "_decoding",
        "_figures",
        "decisions",
        "drawing",
        "recipe",
        "schedules",
    ],
    ["video", "assets", "_weight_files", "_weight_names", "_clip_index", "_clip_filter"],
    ["flow", "_reordering", "_timeline"],
    ["samples", "youtube", "augment", "pose", "people", "models", "folders", "_annotation_tables"],
    ["_annotation_exports", "_cut_report", "splits", "saving", "weights", "streaming", "batches"],
    ["annotations", "datasets", "images", "_video_windows", "_foreign_models"],
    ["_annotated_video", "_assumptions"],
    ["scoring", "duplicates", "shortcuts"],
    ["leakage"],
    ["_stopping", "_recipe_of_clips", "_training_options", "calibration", "features", "heads", "pretrained"],
    ["_resolve"],
    ["feature_table", "training", "evaluation", "prediction", "live", "export"],
    ["_trials"],
    ["held_out", "auto", "fine_tuning", "probing", "_comparison_page"],
    ["cross_validation", "workflow"],
    ["comparison"],
    ["cli", "app"],
    ["__main__"],
]
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
HEAVY = ("tensorflow", "keras", "cv2", "av", "numpy", "matplotlib", "sklearn", "scipy")
# What a module is called "harkeras.x.y"; the package itself imports lazily and is checked by running it.
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def dotted(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """The modules of harkeras that a file imports anywhere, with dots."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            # `from harkeras import video` imports the module harkeras.video.
            submodules = {f"{node.module}.{name.name}" for name in node.names}
            found |= (submodules & {dotted(module) for module in MODULES}) or {node.module}
    return {name for name in found if name.split(".")[0] == "harkeras"}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_imports_only_from_lower_levels(path):
    name = dotted(path).split(".")[1]
    assert name in LEVEL_OF, f"give {name} a level in this table"
    for other in imports_of(path):
        assert other != "harkeras", f"{path}: import from the module, not from the package"
        other = other.split(".")[1]
        assert other == name == "models" or LEVEL_OF[other] < LEVEL_OF[name], f"{name} imports {other}"


SHARED_BY_FAMILY = {
    "cnn_lstm": {"_backbones"},
    "image_models": {"_backbones"},
    "single_frame": {"_backbones", "_sports1m"},
    "fusion": {"_sports1m"},
    "movinet": {"_movinet_blocks"},
    "multiresolution": {"_sports1m", "fusion"},
}


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("[a-z]*.py")), ids=dotted)
def test_a_model_imports_only_registry_and_blocks(path):
    shared = {"_registry", "_blocks"} | SHARED_BY_FAMILY.get(path.stem, set())
    assert imports_of(path) <= {f"harkeras.models.{name}" for name in shared}


def test_every_level_is_in_order():
    assert len(LEVEL_OF) == sum(map(len, LEVELS))


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
    assert not loaded_by("import harkeras.datasets, harkeras.splits") & {"tensorflow", "keras", "matplotlib"}


@pytest.mark.parametrize("name", harkeras.__all__)
def test_public_names_exist_and_are_documented(name):
    assert getattr(harkeras, name) is not None
    assert name == name.upper() or getattr(harkeras, name).__doc__
