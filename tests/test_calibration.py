from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from harkeras.data.datasets import Dataset
from harkeras.evaluation.scores import evaluate
from harkeras.inference.decisions import Decider, Window, name_classes
from harkeras.models.saving import load_model, save_model
from harkeras.recipe import Recipe
from harkeras.training.calibration import (
    calibrate,
    expected_calibration_error,
    fit_temperature,
    plot_calibration,
    tune_threshold,
)


@pytest.fixture(scope="module")
def honest():
    """Labels drawn from just the probabilities that are said."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(4, p=row) for row in probabilities])
    return labels, probabilities


def sharper(probabilities, temperature):
    powers = probabilities ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


class TestCalibration:
    def test_a_few_clips_named_right_do_not_make_certain(self):
        said, right = np.array([[0.9, 0.1]]), np.zeros(2000, int)
        few, many = (fit_temperature(right[:count], said.repeat(count, 0)) for count in (20, 2000))
        assert many < few < 1
        assert 1 / (1 + (1 / 9) ** (1 / few)) < 0.98  # of 20 clips, one more may well be wrong

    def test_error(self, honest):
        labels, probabilities = honest
        assert expected_calibration_error(labels, probabilities) < 0.03
        assert expected_calibration_error(labels, sharper(probabilities, 0.3)) > 0.1
        assert expected_calibration_error(
            np.array([0, 1]), np.array([[0.9, 0.1], [0.9, 0.1]])
        ) == pytest.approx(0.4)

    @pytest.mark.parametrize("temperature", [0.4, 1, 3])
    def test_temperature_is_found(self, honest, temperature):
        labels, probabilities = honest
        said = sharper(probabilities, 1 / temperature)
        assert fit_temperature(labels, said) == pytest.approx(temperature, rel=0.06)

    def test_recipe_applies_it(self, honest):
        labels, probabilities = honest
        said = sharper(probabilities, 0.4)
        recipe = Recipe(tuple("abcd"), 2, 8, 8, 1.0, temperature=fit_temperature(labels, said))
        assert recipe.sharpen(said) == pytest.approx(probabilities, abs=0.03)
        assert Recipe.from_json(recipe.to_json()) == recipe

    def test_plot(self, honest):
        figure = plot_calibration(*honest)
        assert figure.axes[0].get_xlabel() == "probability of the named class"
        (legend,) = figure.legends
        assert "expected error 0.0" in legend.get_texts()[1].get_text()

    def test_refusals(self):
        with pytest.raises(
            ValueError, match=r"probabilities must be \(N, classes\) for N labels, got \(3,\)"
        ):
            expected_calibration_error(np.zeros(3, int), np.zeros(3))
        with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
            expected_calibration_error(np.zeros(1, int), np.ones((1, 2)), bins=0)


def logit_model():
    """A clip of one frame holds its four logits, as pixels: softmax((pixel - 128) / 8)."""
    clip = keras.Input((1, 1, 1, 4))
    return keras.Model(clip, keras.ops.softmax((keras.layers.Reshape((4,))(clip) - 128) / 8))


class TestCalibrate:
    CLASSES = tuple("abcd")

    @pytest.fixture
    def clips(self, honest):
        """Clips of which the model is too sure: its logits are those of `honest`, times two."""
        labels, probabilities = honest
        logits = np.log(probabilities)
        logits = 2 * (logits - logits.mean(axis=1, keepdims=True))
        return np.clip(np.round(8 * logits + 128), 0, 255).astype(np.uint8)[:, None, None, None], labels

    @pytest.fixture
    def model(self):
        model = logit_model()
        model.recipe = Recipe(self.CLASSES, 1, 1, 1, 1.0, streams="flow", flow_fields=2)
        return model

    def test_however_often(self, model, clips):
        """What the recipe already has plays no part; thresholds and classes are kept."""
        for before in (1.0, 1.0, 5.0, 0.2):
            if before != 1:
                model.recipe = replace(model.recipe, temperature=before)
            assert calibrate(model, Dataset(*clips)) == pytest.approx(2, rel=0.06)
            assert model.recipe.temperature == pytest.approx(2, rel=0.06)
        first = model.recipe.temperature
        assert calibrate(model, Dataset(*clips)) == pytest.approx(first, abs=1e-9)
        assert evaluate(model, Dataset(*clips), batch_size=500).calibration_error < 0.03

    def test_a_data_set(self, model, clips):
        paths = [Path(f"{row}.mp4") for row in range(len(clips[1]))]
        groups = np.arange(len(paths)).astype(str)
        data = Dataset(*clips, paths, classes=self.CLASSES, groups=groups, streams="flow")
        assert calibrate(model, data[np.arange(2000)]) == pytest.approx(2, rel=0.1)

    def test_several_clips_of_each_video(self, honest):
        """The temperature is that of each clip; the mean over the clips is what must be honest."""
        labels, probabilities = honest
        said = sharper(probabilities, 0.5)
        assert fit_temperature(labels, said[:, None]) == fit_temperature(labels, said)
        assert fit_temperature(labels, said[:, None].repeat(3, 1)) == pytest.approx(
            fit_temperature(labels, said)
        )

    def test_thresholds_are_tuned_after_it(self, model, clips):
        calibrate(model, Dataset(*clips))
        evaluation = evaluate(model, Dataset(*clips), batch_size=500)
        threshold = tune_threshold(evaluation.labels, evaluation.probabilities, 1, recall=0.9)
        model.recipe = replace(model.recipe, thresholds={"b": threshold})
        assert evaluate(model, Dataset(*clips), batch_size=500).recall[1] == pytest.approx(0.9, abs=0.01)
        calibrate(model, Dataset(*clips))  # the same temperature: they hold
        with pytest.warns(UserWarning, match="thresholds of b were tuned at the temperature"):
            calibrate(model, Dataset(clips[0], 3 - clips[1]))

    def test_refusals(self, model, clips):
        with pytest.raises(ValueError, match="model must have a recipe"):
            calibrate(logit_model(), Dataset(*clips))
        with pytest.raises(ValueError, match="dataset must be a Dataset or a ClipDataset, got ndarray"):
            calibrate(model, clips[0])


class TestThresholds:
    LABELS = np.array([0, 0, 1, 0, 1, 1])
    OF_CLASS_1 = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.9])
    SAID = np.stack([1 - OF_CLASS_1, OF_CLASS_1], axis=1)

    @pytest.mark.parametrize(
        ("wanted", "threshold"),
        [
            ({"recall": 1.0}, 0.3),
            ({"recall": 0.6}, 0.6),
            ({"precision": 1.0}, 0.6),
            ({"precision": 0.7}, 0.3),
        ],
    )
    def test_tuned(self, wanted, threshold):
        found = tune_threshold(self.LABELS, self.SAID, 1, **wanted)
        assert found == pytest.approx(threshold)

    def test_naming(self):
        thresholds = np.array([0, 0.3])
        assert name_classes(self.SAID, thresholds).tolist() == [0, 0, 1, 1, 1, 1]
        assert name_classes(self.SAID, np.zeros(2)).tolist() == [0, 0, 0, 0, 1, 1]
        assert name_classes(np.array([0.2, 0.35, 0.45]), np.array([0.9, 0.0, 0.5])).tolist() == 1
        assert name_classes(np.array([0.4, 0.6]), np.array([0.5, 0.9])).tolist() == 1  # none is reached

    def test_decider_finds_a_rare_class_early(self):
        """A low threshold of one class is not held back by the lead of another."""
        window = Window(0, 1, np.array([0.6, 0.4]))
        off = {"smoothing_seconds": 0, "min_seconds": 0}
        plain, tuned = (Decider(("calm", "rare"), 0.1, **off, thresholds=t) for t in (None, {"rare": 0.35}))
        assert [each.update(window) for each in (plain, tuned)] == ["calm", "rare"]
        assert tuned.update(Window(0.1, 1.1, np.array([0.7, 0.3]))) == "calm"
        assert tuned.update(window) == "rare"

    def test_evaluation_uses_the_recipe(self, tmp_path):
        clip = keras.Input((1, 2, 2, 3))
        x = keras.ops.mean(clip, axis=(1, 2, 3, 4))[:, None] / 255
        model = keras.Model(clip, keras.ops.concatenate([1 - x, x], axis=1))
        clips = np.round(self.OF_CLASS_1 * 255).astype(np.uint8)[:, None, None, None, None] + np.zeros(
            (1, 1, 2, 2, 3), np.uint8
        )
        recipe = Recipe(("calm", "rare"), 1, 2, 2, 1.0)
        plain = evaluate(model, Dataset(clips, self.LABELS, classes=recipe.classes))
        recipe = replace(recipe, thresholds={"rare": 0.29})
        tuned = load_model(save_model(model, tmp_path / "model.keras", recipe=recipe))
        scored = evaluate(tuned, Dataset(clips, self.LABELS, classes=recipe.classes))
        assert (plain.recall[1], scored.recall[1]) == pytest.approx((2 / 3, 1))
        assert plain.precision[1] > scored.precision[1]

    def test_refusals(self):
        with pytest.raises(ValueError, match="one of precision and recall must be given"):
            tune_threshold(self.LABELS, self.SAID, 1)
        with pytest.raises(ValueError, match="labels must name the class 2, got none"):
            tune_threshold(self.LABELS, self.SAID, 2, recall=1)
        with pytest.raises(ValueError, match=r"precision must be at most 0\.500 on these clips, got 0\.9"):
            tune_threshold(np.array([1, 0]), np.array([[0.1, 0.9], [0.1, 0.9]]), 1, precision=0.9)
        with pytest.raises(ValueError, match="thresholds must map classes"):
            Recipe(("a", "b"), 1, 2, 2, 1.0, thresholds={"c": 0.5})
        with pytest.raises(ValueError, match="temperature must be a positive number, got 0"):
            Recipe(("a", "b"), 1, 2, 2, 1.0, temperature=0)
