import io

import keras
import numpy as np
import pytest
from matplotlib.image import imread

from harkeras.evaluation.plots import plot_confusion_matrix, plot_metric

CLASSES = ("Fall", "Run", "Wave")


@pytest.fixture
def history():
    history = keras.callbacks.History()
    history.history = {"loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 2.5, 2.6]}
    return history


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

    @pytest.mark.parametrize("count", [2, 10, 50, 101, 400])
    def test_any_number_of_classes_can_be_looked_at(self, count):
        """A figure of at most 20 inches, names that do not overlap, and numbers where they can be read."""
        rng = np.random.default_rng(0)
        confusion = rng.poisson(0.05, (count, count)) + np.diag(rng.integers(5, 30, count))
        classes = [f"{'playing the ' * (i % 7 == 0)}instrument {i}" for i in range(count)]
        figure = plot_confusion_matrix(confusion, classes, "Test clips: accuracy 0.83")
        assert max(figure.get_size_inches()) <= 20
        figure.savefig(file := io.BytesIO(), format="png", dpi=120)
        assert max(imread(io.BytesIO(file.getvalue())).shape) <= 2400
        axes = figure.axes[0]
        assert len(axes.texts) == (count**2 if count <= 30 else 0)
        labels = axes.get_yticklabels()
        places = sorted(label.get_window_extent().y0 for label in labels)
        heights = [label.get_fontsize() / 72 * figure.dpi for label in labels]
        assert min(np.diff(places)) >= 0.9 * max(heights)
        assert min(label.get_fontsize() for label in labels) >= 6

    def test_of_very_many_classes_the_confused_ones_are_drawn(self):
        confusion = 10 * np.eye(400, dtype=int)
        confusion[7, 390] = 5
        axes = plot_confusion_matrix(confusion, [f"c{i}" for i in range(400)], "Kinetics").axes[0]
        assert axes.get_title() == "Kinetics\nthe 120 of 400 classes that were confused most"
        names = [text.get_text() for text in axes.get_yticklabels()]
        shares = axes.images[0].get_array()
        assert shares[names.index("c7"), names.index("c390")] == pytest.approx(1 / 3)

    def test_confusion_of_other_classes(self):
        with pytest.raises(ValueError, match=r"confusion must be 2 x 2, got \(3, 3\)"):
            plot_confusion_matrix(np.eye(3), ("a", "b"))
