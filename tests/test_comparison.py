import csv
import shutil
from itertools import chain, repeat

import keras
import numpy as np
import pytest

import harkeras.comparison
import harkeras.cross_validation
from harkeras.comparison import COLUMNS, Contestant, compare
from harkeras.cross_validation import cross_validate, cross_validate_auto
from harkeras.datasets import create_dataset, list_classes, list_videos
from harkeras.feature_table import read_feature_table
from harkeras.models import create_lrcn_model
from harkeras.splits import list_folds

SHAPE = (4, 64, 64, 3)
FAST = {"epochs": 1, "batch_size": 8, "validation_split": 0.34}


class TestFolds:
    LABELS = np.arange(24) % 2
    GROUPS = np.array([f"g{i // 4}" for i in range(24)])

    def test_each_clip_is_tested_once_and_no_source_twice(self):
        folds = list_folds(self.LABELS, self.GROUPS, folds=3)
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(24))
        for train, test in folds:
            assert not set(self.GROUPS[train]) & set(self.GROUPS[test])
            assert len(train) + len(test) == 24

    def test_seed(self):
        def tests(**options):
            return [test.tolist() for _, test in list_folds(self.LABELS, self.GROUPS, folds=3, **options)]

        assert tests(seed=1) == tests(seed=1) != tests(seed=2)

    def test_leave_one_group_out(self):
        folds = list_folds(self.LABELS, self.GROUPS, folds="groups")
        assert [set(self.GROUPS[test]) for _, test in folds] == [{f"g{i}"} for i in range(6)]

    def test_random(self):
        train, test = list_folds(self.LABELS, self.GROUPS, split="random", folds=4)[0]
        assert set(self.GROUPS[train]) & set(self.GROUPS[test])
        assert np.bincount(self.LABELS[test]).tolist() == [3, 3]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"folds": 7}, "folds must lie in 2 to 6, the number of groups, got 7"),
            ({"folds": 1}, "folds must lie in 2 to 6, the number of groups, got 1"),
            ({"folds": 13, "split": "random"}, "2 to 12, the number of clips of the rarest class, got 13"),
            ({"split": "best"}, "split must be 'group' or 'random', got 'best'"),
            ({"folds": "groups", "split": "random"}, "folds='groups' needs split='group'"),
        ],
    )
    def test_refusals(self, options, message):
        with pytest.raises(ValueError, match=message):
            list_folds(self.LABELS, self.GROUPS, **options)


class TestCrossValidate:
    def test_all_clips_are_tested_by_new_models(self, sample_dir):
        data = create_dataset(sample_dir, frames=4)
        built = []

        def build():
            built.append(create_lrcn_model(2, SHAPE, filters=(2, 2, 2, 2), units=4))
            return built[-1]

        result = cross_validate(build, data, classes=list_classes(sample_dir), folds=2, verbose=False, **FAST)
        assert len(built) == len(result.evaluations) == 2
        assert sorted(result.labels) == sorted(data.labels)
        assert result.accuracy == pytest.approx(np.mean(result.labels == result.named))
        assert result.interval[0] <= result.accuracy <= result.interval[1]
        assert result.group_interval[0] <= result.accuracy <= result.group_interval[1]
        assert result.confusion.sum() == len(data.labels)
        assert 0 < result.latency_seconds[0] <= result.latency_seconds[1]
        assert "split group, 2 folds: " in str(result)
        assert result.leaking_clips == 0
        assert "sibling" not in str(result)

    def test_auto_chooses_in_each_fold(self, sample_dir):
        videos, labels = list_videos(sample_dir)
        options = {"backbone": "mobilenet_v2_0.35", "weights": None, "inputs": ((3, 32, 32), (4, 32, 32))}
        table, classes = read_feature_table(videos, **options), list_classes(sample_dir)
        options = {"classes": classes, "folds": 2, "heads": ("mean_diff",)}
        result = cross_validate_auto(table, labels, **options)
        assert sorted(result.labels) == sorted(labels)
        assert result.model.input_shape[1] in (3, 4)
        assert result.latency_seconds[0] > 0
        assert result.accuracy == cross_validate_auto(table, labels, **options).accuracy
        random = cross_validate_auto(table, labels, **options | {"folds": 4}, split="random")
        assert random.leaking_clips == len(labels)
        assert f"{len(labels)} test clips have a sibling in training" in str(random)

    def test_official_needs_files(self, sample_dir):
        data = create_dataset(sample_dir, frames=2)
        with pytest.raises(ValueError, match="split_dir is missing"):
            cross_validate(lambda: None, data, classes=["a", "b"], split="official")


class TestCompare:
    def test_table_page_and_resumption(self, sample_dir, tmp_path, monkeypatch):
        small = Contestant("lrcn", {"filters": (2, 2, 2, 2), "units": 4})
        options = {"output_dir": tmp_path / "out", "input_shape": SHAPE, "folds": 2, **FAST}
        rows = compare(sample_dir, [small], splits=("group", "random"), **options)
        assert [row["split"] for row in rows] == ["group", "random"]
        table = list(csv.DictReader((tmp_path / "out/comparison.csv").open()))
        assert tuple(table[0]) == COLUMNS
        assert [float(row["accuracy"]) for row in table] == [row["accuracy"] for row in rows]
        assert all(0 <= row["accuracy"] <= 1 for row in rows)
        assert rows[0]["multiply_adds"] > 0
        page = (tmp_path / "out/comparison.html").read_text()
        assert page.count("data:image/png;base64,") == 3
        assert "lrcn(filters=(2, 2, 2, 2), units=4)" in page
        assert (tmp_path / "out/comparison.md").read_text().count("\n| lrcn(") == 2

        ran = []
        monkeypatch.setattr(
            harkeras.comparison, "cross_validate", lambda *a, **k: ran.append(k["split"]) or 1 / 0
        )
        assert compare(sample_dir, [small], splits=("group", "random"), **options) == rows
        assert not ran
        with pytest.raises(ZeroDivisionError):
            compare(sample_dir, [small], **options | {"epochs": 2})
        assert ran == ["group"]

    def test_auto(self, sample_dir, tmp_path, monkeypatch):
        auto = {"backbone": "mobilenet_v2_0.35", "weights": None, "inputs": ((4, 32, 32),)}
        auto = Contestant("auto", auto | {"heads": ("mean_diff",), "folds": 3})
        inner = []
        real = harkeras.cross_validation.train_auto
        monkeypatch.setattr(
            harkeras.cross_validation,
            "train_auto",
            lambda *args, **options: inner.append(options["folds"]) or real(*args, **options),
        )
        small = Contestant("lrcn", {"filters": (2, 2, 2, 2), "units": 4})
        options = {"output_dir": tmp_path, "input_shape": SHAPE, "folds": 2}
        one, _ = compare(sample_dir, [auto, small], **options, **FAST)
        assert one["model"].startswith("auto(backbone=mobilenet_v2_0.35")
        assert inner == [3, 3]
        assert one["parameters"] > 50_000  # the frozen ones count
        assert one["multiply_adds"] > 1e6
        assert compare(sample_dir, [auto], **options, epochs=3) == [one]  # which are no part of its budget

    def test_auto_is_refused_before_the_long_work(self, sample_dir, tmp_path, monkeypatch):
        with pytest.raises(ValueError, match=r"heads must be among .*, got nonsense"):
            compare(sample_dir, [Contestant("auto", {"heads": ("nonsense",)})], output_dir=tmp_path)
        with pytest.raises(ValueError, match=r"options of auto must be among .*, got width"):
            compare(sample_dir, [Contestant("auto", {"width": 1})], output_dir=tmp_path)
        monkeypatch.setenv("HARKERAS_ASSETS", str(tmp_path))
        with pytest.raises(FileNotFoundError, match="no file at none"):
            compare(sample_dir, [Contestant("auto", {"weights": "none"})], output_dir=tmp_path)
        assert not list(tmp_path.iterdir())

    def test_a_model_that_cannot_be_trained_does_not_end_the_others(self, sample_dir, tmp_path):
        models = [Contestant("lrcn", {"filters": (2, 2, 2, 2), "units": units}) for units in (4, 5)]
        rates = chain([np.nan, np.nan], repeat(1e-3))  # once to check, once for the first epoch
        options = {"output_dir": tmp_path, "input_shape": SHAPE, "folds": 2, **FAST}
        with pytest.raises(RuntimeError, match=r"lacks what .*: lrcn\(.*=4\), group: (val_)?loss is nan"):
            compare(sample_dir, models, **options, learning_rate=lambda epoch, logs: next(rates))
        table = list(csv.DictReader((tmp_path / "comparison.csv").open()))
        assert [row["model"] for row in table] == ["lrcn(filters=(2, 2, 2, 2), units=5)"]

    def test_relabelled_clips_and_another_optimizer_are_run_anew(self, sample_dir, tmp_path, monkeypatch):
        ran, real = [], harkeras.comparison.cross_validate

        def once(*args, **options):
            ran.append(ran[0] if ran else real(*args, **options))
            return ran[0]

        monkeypatch.setattr(harkeras.comparison, "cross_validate", once)
        data = shutil.copytree(sample_dir, tmp_path / "data")
        small = Contestant("lrcn", {"filters": (2, 2, 2, 2), "units": 4})
        options = {"output_dir": tmp_path / "out", "input_shape": SHAPE, "folds": 2, **FAST}
        for rate in (0.5, 0.5, 0.1):
            compare(data, [small], **options, optimizer=keras.optimizers.SGD(rate))
        assert len(ran) == 2
        one, other = sorted(path for path in data.iterdir() if path.is_dir())
        last = max(one.iterdir())
        last.rename(other / last.name)
        compare(data, [small], **options, optimizer=keras.optimizers.SGD(0.5))
        assert len(ran) == 3

    def test_refusals(self, sample_dir, tmp_path):
        with pytest.raises(ValueError, match="models must name at least one model, each once, got"):
            compare(sample_dir, ["lrcn", "lrcn"], output_dir=tmp_path)
        with pytest.raises(ValueError, match="name must be one of"):
            compare(sample_dir, ["lcrn"], output_dir=tmp_path)
        assert not list(tmp_path.iterdir())
