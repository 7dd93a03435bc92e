import importlib.resources
import subprocess
import sys

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest

from harkeras.base.plot_style import styled
from harkeras.evaluation import plot_comparison, plot_confusion_matrix
from harkeras.training import plot_calibration


def test_the_style_is_a_file_of_the_package():
    """`plt.style.use("harkeras.style")` finds it, and all of its settings are Matplotlib's."""
    assert importlib.resources.files("harkeras").joinpath("style.mplstyle").is_file()
    with matplotlib.style.context("harkeras.style"):
        colors = [each["color"] for each in mpl.rcParams["axes.prop_cycle"]]
        assert colors[:2] == ["#0072B2", "#E69F00"]
        assert mpl.rcParams["font.size"] >= 12


def test_plots_have_the_style_and_the_caller_keeps_another():
    with mpl.rc_context({"axes.titlesize": 31}):
        axes = plot_confusion_matrix(np.eye(2), ("a", "b"), "title").axes[0]
        assert axes.title.get_fontsize() == 14
        assert mpl.rcParams["axes.titlesize"] == 31


def test_the_style_is_left_when_drawing_fails():
    @styled
    def fail():
        raise ValueError(mpl.rcParams["axes.titlesize"])

    before = dict(mpl.rcParams)
    with pytest.raises(ValueError, match=r"14"):
        fail()
    assert dict(mpl.rcParams) == before


def test_a_module_that_also_draws_does_not_load_matplotlib():
    code = "import sys, harkeras.base.plot_style as s; s.styled(len); assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_log_axes_read_in_plain_numbers(tmp_path):
    row = {"split": "group", "accuracy": 0.8, "low": 0.7, "high": 0.9}
    rows = [{**row, "model": name, "ms_per_clip": time} for name, time in (("lrcn", 0.8), ("convlstm", 12.0))]
    figure = plot_comparison(rows)
    figure.savefig(tmp_path / "comparison.png")
    axis = figure.axes[0].xaxis
    labels = [text.get_text() for text in axis.get_ticklabels(which="both")]
    assert {"1", "10"} <= set(labels)
    assert not [text for text in labels if "$" in text]


def test_no_legend_lies_over_the_points_of_a_calibration():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    figure = plot_calibration(np.array([0, 1, 1]), probabilities)
    figure.canvas.draw()
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())
