from dataclasses import replace

import keras
import numpy as np
import pytest

from harkeras.evaluation import (
    bootstrap_interval,
    evaluate,
    measure_latency,
    plot_confusion_matrix,
    plot_metric,
    wilson_interval,
)

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


@pytest.fixture
def history():
    history = keras.callbacks.History()
    history.history = {"loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 2.5, 2.6]}
    return history


class TestEvaluate:
    LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    NAMED = np.array([0, 0, 0, 1, 1, 1, 0, 1])

    @pytest.fixture
    def evaluation(self, model):
        return evaluate(model, clips(self.NAMED), self.LABELS, classes=CLASSES, split="by source video")

    def test_scores(self, evaluation):
        assert evaluation.accuracy == 5 / 8
        assert evaluation.confusion.tolist() == [[3, 1, 0], [1, 2, 0], [0, 1, 0]]
        assert evaluation.precision.tolist() == [3 / 4, 2 / 4, 0]
        assert evaluation.recall.tolist() == pytest.approx([3 / 4, 2 / 3, 0])
        assert evaluation.f1.tolist() == pytest.approx([3 / 4, 4 / 7, 0])
        assert evaluation.support.tolist() == [4, 3, 1]
        assert evaluation.loss == pytest.approx(-(5 * np.log(0.8) + 3 * np.log(0.1)) / 8)
        assert evaluation.probabilities == pytest.approx(clips(self.NAMED)[:, 0, 0, 0] / 10)

    @pytest.mark.parametrize(("hits", "interval"), [(98, (0.724, 0.864)), (113, (0.866, 0.961))])
    def test_wilson_interval(self, model, hits, interval):
        """The tutorials' 98 and 113 of 122 test clips."""
        named = np.array([0] * hits + [1] * (122 - hits))
        evaluation = evaluate(model, clips(named), np.zeros(122, int), classes=CLASSES)
        assert evaluation.interval == pytest.approx(interval, abs=0.001)

    def test_interval_of_a_perfect_score_is_no_point(self, model):
        evaluation = evaluate(model, clips([0, 1]), [0, 1], classes=CLASSES)
        assert evaluation.interval == pytest.approx((0.342, 1.0), abs=0.001)

    @pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
    def test_batch_size_changes_nothing(self, model, evaluation, batch_size):
        other = evaluate(model, clips(self.NAMED), self.LABELS, classes=CLASSES, batch_size=batch_size)
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
            said.reshape(6, 1, 1, 1, 6),
            np.arange(6),
            classes=list("abcdef"),
        )
        assert ", top-5 accuracy 0.833" in str(evaluation)

    def test_certain_and_wrong_has_a_finite_loss(self, model):
        features = np.array([10, 0, 0], np.uint8).reshape(1, 1, 1, 1, 3)
        assert evaluate(model, features, [1], classes=CLASSES).loss == pytest.approx(-np.log(1e-7))

    def test_memory_mapped(self, model, tmp_path, evaluation):
        np.save(tmp_path / "clips.npy", clips(self.NAMED))
        features = np.load(tmp_path / "clips.npy", mmap_mode="r")
        other = evaluate(model, features, self.LABELS, classes=CLASSES)
        assert np.array_equal(other.confusion, evaluation.confusion)

    @pytest.mark.parametrize(
        ("named", "labels", "classes", "message"),
        [
            ([], [], CLASSES, "features must hold at least one clip, got none"),
            ([0, 1], [0], CLASSES, r"labels must be 2 integers, got int64 \(1,\)"),
            ([0, 1], [0, 3], CLASSES, "labels must lie in 0 to 2, got 0 to 3"),
            ([0, 1], [0, 1], ("a", "b"), r"classes must name the model's 3 outputs, got 2: \['a', 'b'\]"),
        ],
    )
    def test_errors(self, model, named, labels, classes, message):
        with pytest.raises(ValueError, match=message):
            evaluate(model, clips(np.array(named, int)), labels, classes=classes)


class TestPlots:
    def test_metric(self, history, tmp_path):
        figure = plot_metric(history, "loss", "val_loss", "Total loss")
        (axes,) = figure.axes
        assert axes.get_title() == "Total loss"
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["loss", "val_loss"]
        assert [line.get_ydata().tolist() for line in axes.lines] == list(history.history.values())
        assert [line.get_xdata().tolist() for line in axes.lines] == [[1, 2, 3]] * 2
        figure.savefig(tmp_path / "metric.png")

    def test_unknown_metric(self, history):
        with pytest.raises(ValueError, match="metric must be one of loss, val_loss, got 'accuracy'"):
            plot_metric(history, "loss", "accuracy", "")

    def test_confusion(self, tmp_path):
        confusion = np.array([[3, 1, 0], [1, 2, 0], [0, 0, 0]])
        figure = plot_confusion_matrix(confusion.tolist(), CLASSES, "Fights")
        axes = figure.axes[0]
        assert axes.get_title() == "Fights"
        texts = {text.get_position(): text.get_text() for text in axes.texts}
        assert texts[1, 0] == "1"  # one clip of Fall (row 0) was named Run (column 1)
        assert [text.get_text() for text in axes.get_yticklabels()] == list(CLASSES)
        shares = axes.images[0].get_array()
        assert shares[0].tolist() == [0.75, 0.25, 0]
        assert shares[2].tolist() == [0, 0, 0]
        figure.savefig(tmp_path / "confusion.png")

    def test_confusion_of_other_classes(self):
        with pytest.raises(ValueError, match=r"confusion must be 2 x 2, got \(3, 3\)"):
            plot_confusion_matrix(np.eye(3), ("a", "b"))


class TestScores(TestEvaluate):
    def test_top_k(self, evaluation):
        assert evaluation.top_k(1) == evaluation.accuracy
        assert evaluation.top_k(1) <= evaluation.top_k(2) <= evaluation.top_k(3) == 1
        with pytest.raises(ValueError, match="k must lie in 1 to 3, got 4"):
            evaluation.top_k(4)

    def test_classes_count_alike(self, evaluation):
        assert evaluation.mean_class_accuracy == pytest.approx(evaluation.recall.mean())
        assert evaluation.macro_f1 == pytest.approx(evaluation.f1.mean())

    def test_whole_groups_are_drawn(self):
        """With 10 sources all right or all wrong, 100 clips say as much as 10."""
        groups = np.repeat(np.arange(10), 10)
        low, high = bootstrap_interval(groups < 7, groups)
        assert (low, high) == pytest.approx((0.4, 1.0), abs=0.11)
        alone = bootstrap_interval(groups < 7, np.arange(100))
        assert alone == pytest.approx((0.61, 0.79), abs=0.03)
        assert bootstrap_interval(groups < 7, groups) == (low, high)
        with pytest.raises(ValueError, match="groups must be one per clip, got 3 and 2 clips"):
            bootstrap_interval(np.ones(2, bool), np.arange(3))

    def test_a_perfect_score_is_no_certainty(self):
        groups = np.repeat(np.arange(6), 10)
        assert bootstrap_interval(np.ones(60, bool), groups) == wilson_interval(6, 6)
        assert bootstrap_interval(np.zeros(60, bool), groups) == wilson_interval(0, 6)

    def test_report_with_groups(self):
        clip = keras.Input((1, 2, 2, 3))
        model = keras.Model(clip, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(clip)))
        clips, labels = np.zeros((6, 1, 2, 2, 3), np.uint8), np.array([0, 0, 1, 1, 1, 1])
        text = str(evaluate(model, clips, labels, classes=("a", "b"), groups=list("xxyyzz")))
        assert "95 % interval over whole source videos: " in text

    def test_latency(self):
        clip = keras.Input((1, 2, 2, 3))
        model = keras.Model(clip, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(clip)))
        median, slow = measure_latency(model, np.zeros((1, 2, 2, 3), np.uint8), repeats=3)
        assert 0 < median <= slow
        with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
            measure_latency(model, np.zeros((1, 2, 2, 3), np.uint8), repeats=0)
