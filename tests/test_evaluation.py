import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from harkeras.data.datasets import Dataset
from harkeras.data.intervals import clustered_interval
from harkeras.evaluation.scores import evaluate, measure_latency
from harkeras.recipe import Recipe

CLASSES = ("Fall", "Run", "Wave")


@pytest.fixture(scope="module")
def model():
    """Says what the first pixel says: its three channels are the probabilities."""
    clip = keras.Input((1, 1, 1, 3))
    x = keras.layers.Rescaling(1 / 10)(clip)
    return keras.Model(clip, keras.layers.Flatten()(x))


def clips(named):
    """Clips of which the model says with 0.8 that they are of class `named`."""
    features = np.full((len(named), 1, 1, 1, 3), 1, np.uint8)
    features[np.arange(len(named)), 0, 0, 0, named] = 8
    return features


LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2])
NAMED = np.array([0, 0, 0, 1, 1, 1, 0, 1])


@pytest.fixture
def evaluation(model):
    dataset = Dataset(clips(NAMED), LABELS, classes=CLASSES)
    dataset.split_words = "by source video"
    return evaluate(model, dataset)


class TestEvaluate:
    def test_scores(self, evaluation):
        assert evaluation.accuracy == 5 / 8
        assert evaluation.confusion.tolist() == [[3, 1, 0], [1, 2, 0], [0, 1, 0]]
        assert evaluation.precision.tolist() == [3 / 4, 2 / 4, 0]
        assert evaluation.recall.tolist() == pytest.approx([3 / 4, 2 / 3, 0])
        assert evaluation.f1.tolist() == pytest.approx([3 / 4, 4 / 7, 0])
        assert evaluation.support.tolist() == [4, 3, 1]
        assert evaluation.loss == pytest.approx(-(5 * np.log(0.8) + 3 * np.log(0.1)) / 8)
        assert evaluation.probabilities == pytest.approx(clips(NAMED)[:, 0, 0, 0] / 10)

    @pytest.mark.parametrize(("hits", "interval"), [(98, (0.724, 0.864)), (113, (0.866, 0.961))])
    def test_wilson_interval(self, model, hits, interval):
        """The tutorials' 98 and 113 of 122 test clips."""
        named = np.array([0] * hits + [1] * (122 - hits))
        evaluation = evaluate(model, Dataset(clips(named), np.zeros(122, int), classes=CLASSES))
        assert evaluation.interval == pytest.approx(interval, abs=0.001)

    def test_interval_of_a_perfect_score_is_no_point(self, model):
        evaluation = evaluate(model, Dataset(clips([0, 1]), [0, 1], classes=CLASSES))
        assert evaluation.interval == pytest.approx((0.342, 1.0), abs=0.001)

    @pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
    def test_batch_size_changes_nothing(self, model, evaluation, batch_size):
        other = evaluate(model, Dataset(clips(NAMED), LABELS, classes=CLASSES), batch_size=batch_size)
        assert np.array_equal(other.probabilities, evaluation.probabilities)

    def test_report(self, evaluation):
        assert str(evaluation).splitlines() == [
            "class  precision  recall     F1  clips",
            "Fall        0.75    0.75   0.75      4",
            "Run         0.50    0.67   0.57      3",
            "Wave        0.00    0.00   0.00      1",
            "accuracy 0.625 on 8 clips (95 % interval 0.306 to 0.863; "
            "naming the commonest class gives 0.500)",
            "mean class accuracy 0.472, macro F1 0.440",
            "only one or two test clips of Wave: their lines say little",
            f"expected calibration error {evaluation.calibration_error:.3f}",
            "split: by source video",
        ]
        certainty = evaluation.probabilities.max(axis=1)
        assert evaluation.calibration_error == pytest.approx(abs(certainty.mean() - 0.625), abs=0.1)
        timed = str(replace(evaluation, latency_seconds=(0.0051, 0.0072)))
        assert "one clip takes the model 5.1 ms (median; 95 % of calls below 7.2 ms)" in timed

    def test_report_of_many_classes(self):
        said = np.eye(6, dtype=np.float32)[[0, 1, 2, 3, 4, 4]]
        clip = keras.Input((1, 1, 1, 6))
        evaluation = evaluate(
            keras.Model(clip, keras.layers.Reshape((6,))(clip)),
            Dataset(said.reshape(6, 1, 1, 1, 6), np.arange(6), classes=list("abcdef")),
        )
        assert ", top-5 accuracy 0.833" in str(evaluation)

    def test_no_hit(self, model):
        """The report counts clips and names the classes without any; nothing is divided by 0."""
        evaluation = evaluate(
            model, Dataset(clips([2, 2, 2]), [0, 0, 0], classes=CLASSES, groups=list("aab"))
        )
        assert evaluation.support.tolist() == [3, 0, 0]
        assert evaluation.confusion.tolist() == [[0, 0, 3], [0, 0, 0], [0, 0, 0]]
        assert (evaluation.accuracy, evaluation.mean_class_accuracy, evaluation.macro_f1) == (0, 0, 0)
        assert str(evaluation).splitlines()[:4] == [
            "class  precision  recall     F1  clips",
            "Fall        0.00    0.00   0.00      3",
            "Run                no test clip      0",
            "Wave               no test clip      0",
        ]
        assert "no test clip of Run, Wave: how well these are named is not known" in str(evaluation)
        assert "macro F1 0.000 of the 1 classes that occur" in str(evaluation)
        assert "naming the commonest class gives 1.000" in str(evaluation)
        scores = evaluation.to_dict()["classes"]
        assert scores["Fall"] == {"clips": 3, "precision": 0.0, "recall": 0.0, "f1": 0.0}
        assert scores["Wave"] == {"clips": 0, "precision": None, "recall": None, "f1": None}

    def test_as_plain_numbers(self, evaluation):
        numbers = json.loads(json.dumps(evaluation.to_dict()))
        assert (numbers["clips"], numbers["accuracy"], numbers["top_5_accuracy"]) == (8, 0.625, None)
        assert numbers["interval"] == pytest.approx(evaluation.interval)
        assert numbers["classes"]["Run"]["recall"] == pytest.approx(2 / 3)
        assert numbers["confusion"] == evaluation.confusion.tolist()
        assert numbers["split"] == "by source video"
        assert evaluation.named.tolist() == NAMED.tolist()

    def test_scores_are_those_of_scikit_learn(self, model):
        rng = np.random.default_rng(0)
        labels, named = rng.integers(0, 3, 50), rng.integers(0, 2, 50)
        evaluation = evaluate(model, Dataset(clips(named), labels, classes=CLASSES))
        expected = precision_recall_fscore_support(labels, named, labels=range(3), zero_division=0)
        for mine, theirs in zip(("precision", "recall", "f1", "support"), expected, strict=True):
            np.testing.assert_allclose(getattr(evaluation, mine), theirs)

    def test_a_data_set_brings_what_it_knows(self, model, evaluation):
        paths = [Path(f"v_{CLASSES[label]}_g0{row % 3}_c0{row}.mp4") for row, label in enumerate(LABELS)]
        data = Dataset(clips(NAMED), LABELS, paths, classes=CLASSES)
        data.split_words = "by source video"
        scored = evaluate(model, data)
        assert str(scored).replace(f"{str(scored).splitlines()[5]}\n", "") == str(evaluation)
        assert scored.group_interval == clustered_interval(LABELS == NAMED, data.groups)
        with pytest.raises(ValueError, match="classes is missing"):
            evaluate(model, Dataset(clips(NAMED), LABELS))

    @pytest.mark.parametrize("scale", [1, 255])
    def test_pixels_are_what_the_recipe_says(self, scale):
        """Frames of files are uint8 RGB; a model may want [0, 1], or BGR. Floats are scaled already."""
        clip = keras.Input((1, 1, 1, 3))
        blue_or_red = keras.layers.Flatten()(clip)[:, ::2] * (20 / scale)
        model = keras.Model(clip, keras.ops.softmax(blue_or_red))
        normalize = scale == 1
        model.recipe = Recipe(("blue", "red"), 1, 1, 1, 1.0, normalize=normalize, channel_order="bgr")
        red = np.zeros((2, 1, 1, 1, 3), np.uint8)
        red[..., 0] = 25
        evaluation = evaluate(model, Dataset(red, [1, 1]))
        assert evaluation.probabilities[:, 1] == pytest.approx(1 / (1 + np.exp(-20 * 25 / 255)), abs=1e-4)
        floats = red / np.float32(255 if normalize else 1)
        assert evaluate(model, Dataset(floats, [1, 1])).probabilities == pytest.approx(
            evaluation.probabilities
        )

    def test_gray_pixels_may_be_scaled_too(self):
        clip = keras.Input((1, 1, 1, 1))
        x = keras.layers.Flatten()(clip)
        model = keras.Model(clip, keras.ops.concatenate([1 - x, x], axis=1))
        model.recipe = Recipe(("dark", "light"), 1, 1, 1, 1.0, streams="gray", normalize=True)
        evaluation = evaluate(model, Dataset(np.full((1, 1, 1, 1, 1), 204, np.uint8), [1]))
        assert evaluation.probabilities == pytest.approx(np.array([[0.2, 0.8]]))

    def test_outputs_must_be_probabilities(self):
        clip = keras.Input((1, 1, 1, 3))
        logits = keras.Model(clip, keras.layers.Flatten()(clip))
        with pytest.raises(
            ValueError, match="model must answer with probabilities that add up to 1, got 1 to 8"
        ):
            evaluate(logits, Dataset(clips([0, 1]), [0, 1], classes=CLASSES))
        with pytest.raises(ValueError, match="add up to 1, got nan"):
            evaluate(logits, Dataset(clips([0, 1]) * np.float32("nan"), [0, 1], classes=CLASSES))
        per_frame = keras.Model(clip, keras.ops.softmax(clip[:, :, 0, 0]))
        with pytest.raises(
            ValueError, match=r"model must give one answer per clip, \(B, classes\), got \(2, 1, 3\)"
        ):
            evaluate(per_frame, Dataset(clips([0, 1]), [0, 1], classes=CLASSES))

    def test_report_of_400_classes(self):
        said = np.eye(400, dtype=np.float32)[np.arange(300)]
        clip = keras.Input((1, 1, 1, 400))
        model = keras.Model(clip, keras.layers.Reshape((400,))(clip))
        classes = [f"class {i}" for i in range(400)]
        lines = str(
            evaluate(model, Dataset(said.reshape(300, 1, 1, 1, 400), np.arange(300), classes=classes))
        )
        assert max(map(len, lines.splitlines())) < 300
        assert "class 309 and 90 more classes: how well these are named is not known" in lines

    def test_certain_and_wrong_has_a_finite_loss(self, model):
        features = np.array([10, 0, 0], np.uint8).reshape(1, 1, 1, 1, 3)
        assert evaluate(model, Dataset(features, [1], classes=CLASSES)).loss == pytest.approx(-np.log(1e-7))

    def test_memory_mapped(self, model, tmp_path, evaluation):
        np.save(tmp_path / "clips.npy", clips(NAMED))
        features = np.load(tmp_path / "clips.npy", mmap_mode="r")
        other = evaluate(model, Dataset(features, LABELS, classes=CLASSES))
        assert np.array_equal(other.confusion, evaluation.confusion)

    @pytest.mark.parametrize(
        ("named", "labels", "classes", "message"),
        [
            ([], [], CLASSES, "features must hold at least one clip, got none"),
            ([0, 1], [0.0, 1.0], CLASSES, r"labels must be 2 integers, got float64 \(2,\)"),
            ([0, 1], [0], CLASSES, "must be alike in number, got 2, 1 and 0"),
            ([0, 1], [0, 3], CLASSES, "labels must lie in 0 to 2, got 0 to 3"),
            ([0, 1], [0, 1], ("a", "b"), r"classes must name the model's 3 outputs, got 2: \['a', 'b'\]"),
        ],
    )
    def test_errors(self, model, named, labels, classes, message):
        with pytest.raises(ValueError, match=message):
            evaluate(model, Dataset(clips(np.array(named, int)), labels, classes=classes))


class TestScores:
    def test_top_k(self, evaluation):
        assert evaluation.top_k(1) == evaluation.accuracy
        assert evaluation.top_k(1) <= evaluation.top_k(2) <= evaluation.top_k(3) == 1
        with pytest.raises(ValueError, match="k must lie in 1 to 3, got 4"):
            evaluation.top_k(4)

    def test_classes_count_alike(self, evaluation):
        assert evaluation.mean_class_accuracy == pytest.approx(evaluation.recall.mean())
        assert evaluation.macro_f1 == pytest.approx(evaluation.f1.mean())

    def test_report_with_groups(self):
        clip = keras.Input((1, 2, 2, 3))
        model = keras.Model(clip, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(clip)))
        clips, labels = np.zeros((6, 1, 2, 2, 3), np.uint8), np.array([0, 0, 1, 1, 1, 1])
        text = str(evaluate(model, Dataset(clips, labels, classes=("a", "b"), groups=list("xxyyzz"))))
        assert "95 % interval over whole source videos: " in text

    def test_latency(self):
        clip = keras.Input((1, 2, 2, 3))
        model = keras.Model(clip, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(clip)))
        median, slow = measure_latency(model, np.zeros((1, 2, 2, 3), np.uint8), repeats=3)
        assert 0 < median <= slow
        with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
            measure_latency(model, np.zeros((1, 2, 2, 3), np.uint8), repeats=0)
