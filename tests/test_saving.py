import re
import resource
import zipfile
from datetime import datetime

import keras
import numpy as np
import pytest

from harkeras.models import create_lrcn_model
from harkeras.recipe import Recipe
from harkeras.saving import check_clips, load_model, read_recipe, save_model

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
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        model.compile("adam", "mse")
        model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
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

    def test_folders_are_made(self, model, tmp_path):
        assert save_model(model, tmp_path / "a/b/c.keras", recipe=RECIPE).is_file()


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

    def test_other_format(self, model, tmp_path):
        with pytest.raises(ValueError, match=r"path must be a .keras file or a folder, got .*model\.h5"):
            save_model(model, tmp_path / "model.h5", recipe=RECIPE)

    @pytest.mark.parametrize("read", [read_recipe, load_model])
    def test_no_model_file(self, read, saved, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no model file at .*nowhere"):
            read(tmp_path / "nowhere.keras")
        with pytest.raises(FileNotFoundError, match="no model file at"):
            read(tmp_path)
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
