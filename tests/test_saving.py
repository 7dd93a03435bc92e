import json
import os
import re
import resource
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import keras
import numpy as np
import pytest

from harkeras.base.model_files import find_model_file, newest_model
from harkeras.models import create_lrcn_model, saving
from harkeras.models.saving import (
    check_clips,
    load_model,
    read_recipe,
    save_model,
)
from harkeras.recipe import Recipe

SHAPE = (2, 64, 64, 3)
RECIPE = Recipe(("Fall", "Größe 走"), *SHAPE[:3], clip_seconds=2.5)
CLIPS = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def built():
    return create_lrcn_model(2, SHAPE, filters=(2, 2, 2, 2), units=3)


@pytest.fixture
def model(built):
    built.recipe = None
    return built


@pytest.fixture
def saved(model, tmp_path):
    return save_model(model, tmp_path / "model.keras", recipe=RECIPE)


def run(model):
    return keras.ops.convert_to_numpy(model(CLIPS))


class TestSaveAndLoad:
    def test_equal_output_and_recipe(self, model, saved):
        loaded = load_model(str(saved))
        assert np.array_equal(run(loaded), run(model))
        assert loaded.recipe == read_recipe(saved) == model.recipe == RECIPE

    def test_recipe_stays_through_load_and_save(self, saved, tmp_path):
        again = save_model(load_model(saved), tmp_path / "again.keras")
        assert read_recipe(again) == RECIPE

    def test_recipe_given_stands_over_that_of_the_model(self, saved, tmp_path):
        other = Recipe(("a", "b"), *SHAPE[:3], clip_seconds=1)
        model = load_model(saved)
        assert read_recipe(save_model(model, tmp_path / "other.keras", recipe=other)) == other
        assert model.recipe == other

    def test_recipe_is_a_member_that_anyone_can_read(self, saved):
        with zipfile.ZipFile(saved) as file:
            assert file.namelist().count("recipe.json") == 1
            assert Recipe.from_json(file.read("recipe.json").decode()) == RECIPE

    def test_optimizer_is_saved(self, tmp_path):
        model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(2)])
        model.compile("adam", "mse")
        model.fit(CLIPS, np.ones((2, 2)), verbose=0)
        loaded = load_model(save_model(model, tmp_path / "m.keras", recipe=RECIPE))
        assert int(loaded.optimizer.iterations) == 1

    def test_model_of_someone_else(self, model, tmp_path):
        model.save(tmp_path / "plain.keras")
        assert read_recipe(tmp_path / "plain.keras") is None
        assert load_model(tmp_path / "plain.keras").recipe is None


class TestPath:
    def test_default_name_has_time_loss_and_accuracy(self, model, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path = save_model(model, recipe=RECIPE, loss=0.48213, accuracy=0.8)
        match = re.fullmatch(r"saved_models/lrcn__(.*)__loss_0\.4821__accuracy_0\.8000\.keras", str(path))
        age = datetime.now() - datetime.strptime(match[1], "%Y-%m-%d_%H-%M-%S")
        assert 0 <= age.total_seconds() < 60
        assert path.is_file()

    def test_scores_are_optional(self, model, tmp_path):
        path = save_model(model, tmp_path / "v1.0", recipe=RECIPE)
        assert re.fullmatch(r"lrcn__[-_\d]+\.keras", path.name)
        assert path.parent == tmp_path / "v1.0"

    def test_no_file_of_the_same_second_is_replaced(self, model, tmp_path):
        paths = {save_model(model, tmp_path, recipe=RECIPE, accuracy=0.5) for _ in range(3)}
        assert len(paths) == 3
        assert sorted(tmp_path.iterdir()) == sorted(paths)
        assert all(read_recipe(path) == RECIPE for path in paths)

    def test_a_link_stays_one(self, model, tmp_path):
        (tmp_path / "latest.keras").symlink_to(tmp_path / "v2.keras")
        assert save_model(model, tmp_path / "latest.keras", recipe=RECIPE) == tmp_path / "latest.keras"
        assert (tmp_path / "latest.keras").is_symlink()
        assert read_recipe(tmp_path / "v2.keras") == RECIPE

    def test_folders_are_made(self, model, tmp_path):
        assert save_model(model, tmp_path / "a/b/c.keras", recipe=RECIPE).is_file()


class TestRuns:
    def test_a_run_stands_for_its_model(self, model, tmp_path):
        path = save_model(model, tmp_path / "run" / "model.keras", recipe=RECIPE)
        assert find_model_file(tmp_path / "run") == find_model_file(path) == path
        assert find_model_file(tmp_path) == tmp_path  # which says itself what is missing
        assert read_recipe(tmp_path / "run") == RECIPE
        assert load_model(tmp_path / "run").recipe == RECIPE

    def test_the_newest_is_a_run_or_a_file(self, model, tmp_path):
        with pytest.raises(FileNotFoundError, match="no model in"):
            newest_model(tmp_path)
        run = save_model(model, tmp_path / "run" / "model.keras", recipe=RECIPE).parent
        (tmp_path / "empty").mkdir()
        assert newest_model(tmp_path) == run
        single = save_model(model, tmp_path / "single.keras", recipe=RECIPE)
        os.utime(run / "model.keras", (1000, 1000))
        assert newest_model(tmp_path) == single
        os.utime(single, (500, 500))
        assert newest_model(tmp_path) == run


class TestNothingIsLost:
    def failing(self, model, path):
        with pytest.raises(OSError, match=r"File too large|[Ee]rrno = 27|[Uu]nable"):
            save_model(model, path, recipe=RECIPE)

    def test_a_disk_that_fills(self, model, saved, tmp_path):
        before, limit = saved.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
        for size in (1, 8_000, len(before) - 200):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
            try:
                self.failing(model, saved)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            assert list(tmp_path.iterdir()) == [saved]
            assert saved.read_bytes() == before

    def test_an_interruption(self, model, saved, tmp_path, monkeypatch):
        before = saved.read_bytes()

        def interrupted(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(zipfile.ZipFile, "writestr", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save_model(model, saved, recipe=RECIPE)
        assert list(tmp_path.iterdir()) == [saved]
        assert saved.read_bytes() == before


class TestErrors:
    def test_no_recipe(self, model, tmp_path):
        with pytest.raises(
            ValueError, match="recipe is missing: pass a Recipe, or a model that went through"
        ):
            save_model(model, tmp_path / "model.keras")

    def test_recipe_of_another_model(self, model, tmp_path):
        recipe = Recipe(("a", "b", "c"), *SHAPE[:3], clip_seconds=1)
        with pytest.raises(
            ValueError, match=r"classes must name the model's 2 outputs, got 3: \['a', 'b', 'c'\]"
        ):
            save_model(model, tmp_path / "model.keras", recipe=recipe)

    @pytest.mark.parametrize("name", ["model.h5", "model.pkl", "model.pt", "model.Keras", "a.keras.zip"])
    def test_other_format(self, model, tmp_path, name):
        with pytest.raises(ValueError, match=rf"path must be a .keras file or a folder, got .*{name}"):
            save_model(model, tmp_path / name, recipe=RECIPE)
        assert not list(tmp_path.iterdir())

    def test_not_onto_a_device(self, model, tmp_path):
        (tmp_path / "null.keras").symlink_to("/dev/null")
        with pytest.raises(ValueError, match=r"must be a regular file, got .*which is a device"):
            save_model(model, tmp_path / "null.keras", recipe=RECIPE)

    def test_recipe_of_other_clips(self, model, saved, tmp_path):
        other = Recipe(RECIPE.classes, 3, 64, 64, clip_seconds=1)
        with pytest.raises(ValueError, match=r"the recipe's clips are \(3, 64, 64, 3\), and the model takes"):
            save_model(model, tmp_path / "model.keras", recipe=other)
        with rewritten(saved, other.to_json().encode()) as path:
            with pytest.raises(ValueError, match=rf"{path.name}: the recipe's clips are \(3, 64, 64, 3\)"):
                load_model(path)

    @pytest.mark.parametrize("read", [read_recipe, load_model])
    def test_no_model_file(self, read, saved, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no model file at .*nowhere"):
            read(tmp_path / "nowhere.keras")
        (tmp_path / "folder").mkdir()
        with pytest.raises(ValueError, match=r"got a folder without model\.keras; a SavedModel opens"):
            read(tmp_path / "folder")
        cut = tmp_path / "cut.keras"
        cut.write_bytes(saved.read_bytes()[:-100])
        with pytest.raises(ValueError, match=r"cut\.keras must be a .keras file, as Keras 3 writes it"):
            read(cut)

    def test_another_zip_file(self, tmp_path):
        path = tmp_path / "pictures.keras"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a.png", b"")
        with pytest.raises(ValueError, match=r"pictures\.keras must be a .keras file, as Keras 3 writes it"):
            load_model(path)


@contextmanager
def rewritten(saved, recipe: bytes, **options):
    """A model file beside another, with another recipe.json."""
    path = saved.with_name("rewritten.keras")
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, recipe if name == "recipe.json" else old.read(name), **options)
    yield path
    path.unlink()


def refusal(path, work):
    """Return the message of the ValueError that some work on a damaged file ends in, or None."""
    try:
        work()
    except ValueError as error:
        return str(error)
    return None


class TestDamage:
    """Whatever is in the file: the model that was saved, or one ValueError with the file's name."""

    def test_bytes(self, saved, tmp_path):
        def content(path):
            with zipfile.ZipFile(path) as file:
                return {name: file.read(name) for name in file.namelist()}

        rng, whole, expected = np.random.default_rng(0), saved.read_bytes(), content(saved)
        path, refused = tmp_path / "mutant.keras", 0
        for number in range(400):
            mutant = bytearray(whole)
            if number % 4 == 0:
                del mutant[int(rng.integers(len(mutant))) :]
            elif number % 4 == 1:
                start = int(rng.integers(len(mutant)))
                mutant[start : start + 64] = rng.bytes(64)
            else:  # of the directory at the end, every other time
                first = 0 if number % 4 == 2 else len(mutant) - 600
                for place in rng.integers(first, len(mutant), rng.integers(1, 9)):
                    mutant[place] ^= 1 << rng.integers(8)
            path.write_bytes(mutant)
            error = refusal(path, lambda: (read_recipe(path), saving._check_archive(path)))
            if error is None:
                assert content(path) == expected
            else:
                assert error.startswith(f"{path} must be a .keras file")
                refused += 1
        assert refused > 300

    def test_weights(self, saved):
        """One bit of a weight, which Keras alone would load."""
        content = bytearray(saved.read_bytes())
        with zipfile.ZipFile(saved) as file:
            member = file.getinfo("model.weights.h5")
        content[member.header_offset + member.compress_size - 100] ^= 1
        saved.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.keras must be a .keras file.*is damaged"):
            load_model(saved)

    def test_recipes(self, model, saved):
        odd = [None, True, 5, -1, 0, 1e300, float("nan"), "", "rgb", "x" * 9999, [], [[]], ["a", "a"], {}]
        odd += [{"a": {"b": []}}, [1, 2], "NaN", {"Fall": "0.5"}, ["a", "b", "c"]]
        values = json.loads(RECIPE.to_json())
        texts = [json.dumps(values | {name: value}).encode() for name in (*values, "new") for value in odd]
        texts += [b"", b"\xff\xfe", b"[" * 100_000, b"null", b"[]", b"{}", b'{"format": 1}', b"\0" * 99]
        refused = 0
        for text in texts:
            with rewritten(saved, text) as path:
                error = refusal(path, lambda: saving.check_recipe(model, read_recipe(path)))
                assert error is None or re.match(
                    rf"{path}|classes must name the model|the recipe's cl", error
                )
            refused += error is not None
        assert 200 < refused < len(texts)

    @pytest.mark.parametrize("name", ["recipe.json", "config.json", "metadata.json"])
    def test_a_member_of_gigabytes_is_not_unpacked(self, saved, name):
        path = saved.with_name("bomb.keras")
        with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for each in old.namelist():
                if each != name:
                    new.writestr(each, old.read(each))
            with new.open(name, "w") as member:
                for _ in range(65):
                    member.write(bytes(1_000_000))
        with pytest.raises(ValueError, match=rf"bomb\.keras must be.*{name} unpacks to 65000000 bytes"):
            load_model(path)

    def test_nothing_in_it_is_executed(self, tmp_path):
        marker = str(tmp_path / "executed")
        clip = keras.Input(SHAPE)
        x = keras.layers.Lambda(lambda x: (__import__("os").mkdir(marker), x)[1])(clip)
        model = keras.Model(clip, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
        path = save_model(model, tmp_path / "lambda.keras", recipe=RECIPE)
        Path(marker).rmdir()
        with pytest.raises(ValueError, match=r"lambda\.keras must be .*[Ll]ambda"):
            load_model(path)
        assert not Path(marker).exists()


@pytest.mark.slow
def test_processes_that_write_one_path_leave_a_readable_file(tmp_path):
    code = """
import sys
from harkeras.models import create_lrcn_model
from harkeras.recipe import Recipe
from harkeras.models.saving import save_model
model = create_lrcn_model(2, (2, 64, 64, 3), filters=(2, 2, 2, 2), units=3)
for _ in range(8):
    save_model(model, sys.argv[1], recipe=Recipe(("a", "b"), 2, 64, 64, clip_seconds=1))"""
    path = tmp_path / "model.keras"
    command = [sys.executable, "-c", code, str(path)]
    processes = [subprocess.Popen(command, cwd=Path(__file__).parents[1]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert load_model(path).recipe.classes == ("a", "b")
    assert list(tmp_path.iterdir()) == [path]


class TestCheckClips:
    @pytest.mark.parametrize(
        ("features", "labels", "classes", "message"),
        [
            (CLIPS[:, 1:], [0, 1], "ab", r"features must be clips \(2, 64, 64, 3\), got \(1, 64, 64, 3\)"),
            (CLIPS[:0], [], "ab", "features must hold at least one clip, got none"),
            (CLIPS, [0], "ab", r"labels must be 2 integers, got int64 \(1,\)"),
            (CLIPS, [0.0, 1.0], "ab", r"labels must be 2 integers, got float64 \(2,\)"),
            (CLIPS, np.eye(2, dtype=int), "ab", r"labels must be 2 integers, got int64 \(2, 2\)"),
            (CLIPS, [0, 2], "ab", "labels must lie in 0 to 1, got 0 to 2"),
            (CLIPS, [-1, 1], "ab", "labels must lie in 0 to 1, got -1 to 1"),
            (CLIPS, [0, 1], "abc", "classes must name the model's 2 outputs, got 3"),
        ],
    )
    def test_errors(self, model, features, labels, classes, message):
        with pytest.raises(ValueError, match=message):
            check_clips(model, features, labels, tuple(classes))

    def test_labels_may_be_a_list(self, model):
        assert check_clips(model, CLIPS, [0, 1], ("a", "b")).tolist() == [0, 1]


def test_a_path_with_a_null_byte_is_named():
    with pytest.raises(ValueError, match=r"got 'a\\x00b\.keras', which has a null byte"):
        load_model("a\0b.keras")
