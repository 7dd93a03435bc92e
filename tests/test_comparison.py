import csv
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

import harkeras.transfer.auto
from harkeras.data.augment import Pepper
from harkeras.data.folders import list_classes, list_videos
from harkeras.data.loading import create_dataset
from harkeras.data.sources import given_sources
from harkeras.data.splits import list_folds
from harkeras.evaluation.comparison import COLUMNS, Contestant, compare
from harkeras.evaluation.cross_validation import cross_validate
from harkeras.models import create_lrcn_model
from harkeras.training.trainer import NetworkTrainer
from harkeras.transfer.auto import AutoTrainer
from harkeras.transfer.feature_dataset import create_feature_dataset

SHAPE = (4, 64, 64, 3)
SMALL = Contestant("lrcn", {"filters": (2, 2, 2, 2), "units": 4})
FAST = {"epochs": 1, "batch_size": 8, "validation_split": 0.34}


def tiny():
    """Build a model that is trained in no time."""
    clip = keras.Input(SHAPE)
    x = keras.layers.GlobalAveragePooling3D()(clip / 255)
    return keras.Model(clip, keras.layers.Dense(2, activation="softmax")(x))


@pytest.fixture
def no_page(monkeypatch):
    """Draw no figures where only rows matter."""
    monkeypatch.setattr("harkeras.evaluation.comparison.write_page", lambda *args: None)


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


def test_where_sources_are_not_known_the_table_says_so(sample_dir, tmp_path, eager):
    for path in sorted(sample_dir.rglob("*_c01.mp4")):
        folder = tmp_path / "clips" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.name.replace("_g", "-"))
    model = Contestant("lrcn", {"filters": (2, 2, 2, 2), "units": 4})
    options = {"input_shape": SHAPE, "folds": 2, "output_dir": tmp_path / "out", **FAST}
    with pytest.warns(UserWarning, match="8 of 8 clips name no source video"):
        (row,) = compare(tmp_path / "clips", [model], **options)
    assert (row["leaking_clips"], row["group_low"], row["group_high"]) == (None, None, None)
    table = (tmp_path / "out" / "comparison.md").read_text()
    assert "| sources unknown |" in table
    assert "| unknown |" in table
    assert "sources: unknown, each of the 8 clips counts as one" in table
    assert "sources: unknown, each of the 8 clips" in (tmp_path / "out" / "comparison.html").read_text()


class TestCrossValidate:
    def test_all_clips_are_tested_by_new_models(self, sample_dir):
        data = create_dataset(sample_dir, frames=4)
        built = []

        def build():
            built.append(tiny())
            return built[-1]

        result = cross_validate(build, data, folds=2, verbose=False, **FAST)
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
        random = cross_validate(tiny, data, folds=4, split="random", verbose=False, **FAST)
        assert random.leaking_clips == len(data)
        assert f"{len(data)} test clips have a sibling in training" in str(random)

    def test_a_name_or_a_trainer(self, sample_dir, eager):
        data = create_dataset(sample_dir, frames=4)
        options = {"folds": 2, "seed": 3}
        trainer = NetworkTrainer("lrcn", SMALL.options, input_shape=SHAPE, verbose=False, **FAST)
        result = cross_validate(trainer, data, **options)
        build = partial(create_lrcn_model, 2, SHAPE, **SMALL.options)
        assert (
            cross_validate(build, data, verbose=False, **FAST, **options).named.tolist()
            == result.named.tolist()
        )
        with pytest.raises(ValueError, match="epochs must be given to the trainer"):
            cross_validate(trainer, data, epochs=2)

    @pytest.mark.slow
    def test_auto_chooses_in_each_fold(self, sample_dir):
        options = {"backbone": "mobilenet_v2_0.35", "weights": None, "inputs": ((3, 32, 32), (4, 32, 32))}
        data = create_feature_dataset(sample_dir, **options)
        auto = AutoTrainer(options={"heads": ("mean_diff",)})
        result = cross_validate(auto, data, folds=2)
        assert sorted(result.labels) == sorted(data.labels)
        assert result.model.input_shape[1] in (3, 4)
        assert result.latency_seconds[0] > 0
        assert result.accuracy == cross_validate(auto, data, folds=2).accuracy

    def test_copies_stand_on_one_side(self, sample_dir, tmp_path, eager):
        """Sources 1 = 2, 3 = 4 and 5 = 6, byte for byte, whoever names them."""
        for folder in list_classes(sample_dir):
            (tmp_path / folder).mkdir()
            for number in range(1, 7):
                path = sample_dir / folder / f"v_{folder}_g{(number + 1) // 2:02}_c01.mp4"
                shutil.copy(path, tmp_path / folder / f"v_{folder}_g{number:02}_c01.mp4")
        data = create_dataset(tmp_path, frames=4)
        own = data[:]
        own.sources = given_sources(np.arange(12), 12)
        for clips, joined in ((data, 3), (own, 6)):
            result = cross_validate(tiny, clips, folds=3, verbose=False, **FAST)
            assert len(set(result.groups)) == joined
            assert result.leaking_clips == 0
        random = cross_validate(tiny, own, split="random", folds=6, verbose=False, **FAST)
        assert random.leaking_clips > 0
        with pytest.raises(ValueError, match="folds must lie in 2 to 3, the number of groups, got 4"):
            cross_validate(tiny, data, folds=4)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"split": "official"}, "split_dir is missing"),
            ({"split_dir": "lists"}, "split_dir must be left out without an official split, got 'lists' and"),
            ({"seed": -1}, "seed must be a whole number in 0 to 4294967295, got -1"),
            ({"resume": "state"}, "resume must be left out: each fold is a training of its own"),
            ({"labels": [0, 1]}, "options of train must be among .*, got labels"),
            ({"class_weight": "equal"}, "class_weight must be 'balanced' or a number"),
        ],
    )
    def test_refusals(self, sample_dir, options, message):
        data = create_dataset(sample_dir, frames=2)
        with pytest.raises(ValueError, match=message):
            cross_validate(lambda: None, data, **{"folds": 2} | options)

    @pytest.mark.parametrize("folds", [2, "groups"])
    def test_one_source_in_each_class(self, sample_dir, folds):
        """A model would be tested on a class that it has never seen."""
        data = create_dataset(sample_dir, frames=2)
        data.sources = given_sources(data.labels, len(data))
        with pytest.raises(ValueError, match="groups must tell apart at least two sources of a class"):
            cross_validate(lambda: None, data, folds=folds)


@pytest.mark.slow
def test_memory_mapped_frames_are_not_copied(tmp_path):
    """300 MB of clips on disk: a copy of a fold's would be 150 MB or more."""
    code = """
import resource, sys
import keras, numpy as np
from pathlib import Path
from harkeras.evaluation.cross_validation import cross_validate
from harkeras.data.datasets import Dataset
from harkeras.data.sources import Sources
shape = (600, 1, 408, 408, 3)
features = np.lib.format.open_memmap(sys.argv[1], "w+", np.uint8, shape)
features.flush()
del features
features, labels = np.load(sys.argv[1], mmap_mode="r"), np.arange(600) % 2
sources = Sources(np.array([str(i // 4) for i in range(600)]), "by hand")
data = Dataset(features, labels, classes=("a", "b"), sources=sources, clip_seconds=1)

def build():
    clip = keras.Input(shape[1:])
    x = keras.layers.GlobalAveragePooling3D()(clip)
    return keras.Model(clip, keras.layers.Dense(2, activation="softmax")(x))

def anonymous():  # without what is mapped from the file
    text = Path("/proc/self/status").read_text().partition("RssAnon:")[2]
    return int(text.split()[0]) / 1024

most = []
class Watch(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        most.append(anonymous())
    on_test_batch_begin = on_train_batch_begin
    on_predict_batch_begin = on_train_batch_begin

build().predict_on_batch(np.zeros((4, *shape[1:]), np.uint8))
before = anonymous()
options = {"epochs": 1, "batch_size": 4, "verbose": False, "callbacks": [Watch()]}
cross_validate(build, data, folds=2, **options)
print(max(most) - before)"""
    command = [sys.executable, "-c", code, str(tmp_path / "frames.npy")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert float(run.stdout) < 100


class TestCompare:
    def test_table_page_and_resumption(self, sample_dir, tmp_path, eager):
        options = {"output_dir": tmp_path / "out", "input_shape": SHAPE, "folds": 2, **FAST}
        rows = compare(sample_dir, [SMALL], splits=("group", "random"), **options)
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

        assert compare(sample_dir, [SMALL], splits=("group", "random"), **options) == rows  # also the seconds
        assert len(list((tmp_path / "out" / "rows").iterdir())) == 2

    @pytest.mark.slow
    def test_auto(self, sample_dir, tmp_path, monkeypatch, eager):
        auto = {"backbone": "mobilenet_v2_0.35", "weights": None, "inputs": ((4, 32, 32),)}
        auto = Contestant("auto", auto | {"heads": ("mean_diff",), "folds": 3})
        inner = []
        real = harkeras.transfer.auto.train_auto
        monkeypatch.setattr(
            harkeras.transfer.auto,
            "train_auto",
            lambda *args, **options: inner.append(options["folds"]) or real(*args, **options),
        )
        options = {"output_dir": tmp_path, "input_shape": SHAPE, "folds": 2}
        one, _ = compare(sample_dir, [auto, SMALL], **options, **FAST)
        assert one["model"].startswith("auto(backbone=mobilenet_v2_0.35")
        assert inner == [3, 3]
        assert one["parameters"] > 50_000  # the frozen ones count
        assert one["multiply_adds"] > 1e6
        del options["input_shape"]
        assert compare(sample_dir, [auto], **options) == [one]  # of which FAST and SHAPE are no part

    def test_auto_is_refused_before_the_long_work(self, sample_dir, tmp_path, monkeypatch):
        with pytest.raises(ValueError, match=r"heads must be among .*, got nonsense"):
            compare(sample_dir, [Contestant("auto", {"heads": ("nonsense",)})], output_dir=tmp_path)
        with pytest.raises(ValueError, match=r"options of auto must be among .*, got width"):
            compare(sample_dir, [Contestant("auto", {"width": 1})], output_dir=tmp_path)
        monkeypatch.setenv("HARKERAS_ASSETS", str(tmp_path))
        with pytest.raises(FileNotFoundError, match="no file at none"):
            compare(sample_dir, [Contestant("auto", {"weights": "none"})], output_dir=tmp_path)
        assert not list(tmp_path.iterdir())

    def test_a_model_that_cannot_be_trained_does_not_end_the_others(
        self, sample_dir, tmp_path, monkeypatch, eager
    ):
        def train(self, dataset, *, seed):
            if self.options["units"] == 4:
                raise RuntimeError("loss is nan in the first epoch")
            return original(self, dataset, seed=seed)

        original = NetworkTrainer.train
        monkeypatch.setattr(NetworkTrainer, "train", train)
        models = [Contestant("lrcn", {"filters": (2, 2, 2, 2), "units": units}) for units in (4, 5)]
        options = {"output_dir": tmp_path, "input_shape": SHAPE, "folds": 2, **FAST}
        with pytest.raises(RuntimeError, match=r"lacks what .*: lrcn\(.*=4\), group: loss is nan"):
            compare(sample_dir, models, **options)
        table = list(csv.DictReader((tmp_path / "comparison.csv").open()))
        assert [row["model"] for row in table] == ["lrcn(filters=(2, 2, 2, 2), units=5)"]

    @pytest.mark.slow
    def test_what_is_run_anew(self, sample_dir, tmp_path, eager, no_page):
        """Each setting, and each change of the clips, makes a row of its own, which is found again."""
        data = shutil.copytree(sample_dir, tmp_path / "data")
        seconds = set()

        def is_run_anew(**settings):
            options = {"output_dir": tmp_path / "out", "input_shape": SHAPE, "folds": 2, **FAST}
            (row,) = compare(data, [SMALL], **options | settings)
            known = row["train_seconds"] in seconds
            seconds.add(row["train_seconds"])
            return not known

        settings = [
            lambda: {},
            lambda: {"augment": Pepper()},
            lambda: {"augment": Pepper((0, 0.5))},
            lambda: {"optimizer": keras.optimizers.Adam(0.1)},
            lambda: {"optimizer": keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 6))},
            lambda: {"loss": keras.losses.CategoricalCrossentropy(label_smoothing=0.1)},
            lambda: {"group_by": r"_g\d(\d)_"},
        ]
        assert [is_run_anew(**each()) for each in settings] == [True] * len(settings)
        assert [is_run_anew(**each()) for each in settings] == [False] * len(settings)
        one, other = sorted(path for path in data.iterdir() if path.is_dir())
        first, *_, last = sorted(one.iterdir())
        content, times = first.read_bytes(), (first.stat().st_atime_ns, first.stat().st_mtime_ns)
        first.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # one bit, the same size and time
        os.utime(first, ns=times)
        assert is_run_anew()
        first.write_bytes(content)
        assert not is_run_anew()
        last.rename(other / last.name)
        assert is_run_anew()

    def test_functions_are_refused_before_the_long_work(self, sample_dir, tmp_path):
        for options in (
            {"augment": lambda clips, seed: clips},
            {"callbacks": [keras.callbacks.TerminateOnNaN()]},
        ):
            with pytest.raises(ValueError, match="must say what it was made of"):
                compare(sample_dir, [SMALL], output_dir=tmp_path, input_shape=SHAPE, folds=2, **options)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"splits": ("group", "best")}, "split must be 'group' or 'random', got 'best'"),
            ({"splits": ("group", "official")}, "split_dir is missing"),
            ({"splits": ()}, "splits must name at least one split"),
            ({"folds": 70}, "folds must lie in 2 to 4, the number of groups, got 70"),
            ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
            ({"epoch": 3}, "options of train must be among .*, got epoch"),
            ({"loss": "hinge"}, "loss must be a Keras loss, an object, got 'hinge'"),
            ({"resume": "state"}, "resume must be left out"),
            ({"dataset": [0]}, "dataset must be left out"),
            ({"labels": [0]}, "options of train must be among .*, got labels"),
            ({"split_dir": "lists"}, "split_dir must be left out without an official split, got 'lists' and"),
            ({"seed": -1}, "seed must be a whole number in 0 to 4294967295, got -1"),
            ({"seed": 2**32}, "seed must be a whole number in 0 to 4294967295, got 4294967296"),
            ({"flow_method": "farneback"}, "flow_method is for clips with optical flow, got 'farneback'"),
            (
                {"flow_method": "lk", "input_shape": (4, 64, 64, 2)},
                "flow_method must be one of 'dis', 'farneback', 'tvl1', got 'lk'",
            ),
            ({"input_shape": (64, 64, 3)}, r"input_shape must be \(frames, height, width, channels\), or"),
            ({"group_by": r"^[^/]+"}, "group_by must tell apart at least two sources of a class"),
        ],
    )
    def test_splits_and_options_are_checked_before_the_long_work(
        self, sample_dir, tmp_path, options, message
    ):
        options = {"output_dir": tmp_path, "input_shape": SHAPE, "folds": 2} | options
        with pytest.raises(ValueError, match=message):
            compare(sample_dir, [SMALL], **options)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        "options",
        [
            {"epochs": 77},
            {"mixup": 0.2, "patience": 5},
            {"input_shape": SHAPE},
            {"flow_method": "dis"},
        ],
    )
    def test_what_means_nothing_to_auto_alone(self, sample_dir, tmp_path, options):
        names = ", ".join(sorted(options))
        with pytest.raises(ValueError, match=f"^{names} must be left out where 'auto' is the only model"):
            compare(sample_dir, ["auto"], output_dir=tmp_path, **options)
        assert not list(tmp_path.iterdir())

    @pytest.mark.slow
    def test_the_method_of_flow_is_that_of_the_clips(self, sample_dir, tmp_path, eager, no_page):
        model, methods = Contestant("lrcn", {"filters": (2, 2, 2, 2), "units": 4}), []
        options = {"input_shape": (4, 64, 64, 2), "folds": 2, **FAST}
        for method in (None, "dis", "farneback"):
            compare(sample_dir, [model], output_dir=tmp_path, flow_method=method, **options)
            methods.append(np.load(tmp_path / "frames.npy"))
        expected = create_dataset(
            sample_dir, frames=4, streams="flow", flow_fields=1, flow_method="farneback"
        )
        assert np.array_equal(methods[0], methods[1])
        assert not np.array_equal(methods[1], methods[2])
        assert np.array_equal(methods[2], expected.features)
        assert len(list((tmp_path / "rows").iterdir())) == 2

    def test_one_official_split_is_one_fold(self, sample_dir, tmp_path, eager):
        videos = list_videos(sample_dir)[0]
        for name, tested in (("trainlist01.txt", False), ("testlist01.txt", True)):
            side = [f"X/{path.name}\n" for path in videos if ("_g04_" in path.name) == tested]
            (tmp_path / name).write_text("".join(side))
        options = {"output_dir": tmp_path / "out", "input_shape": SHAPE, "split_dir": tmp_path, **FAST}
        (row,) = compare(sample_dir, [SMALL], splits=["official"], **options)
        assert (row["folds"], row["clips"], row["leaking_clips"]) == (1, 4, 0)

    def test_ctrl_c_leaves_no_row(self, sample_dir, tmp_path, eager):
        class PressCtrlC(keras.layers.Layer):
            """An augmentation that interrupts the process in the second epoch."""

            calls = 0

            def __call__(self, clips, seed):
                self.calls += 1
                if self.calls == 3:
                    signal.raise_signal(signal.SIGINT)
                return clips

        options = {"output_dir": tmp_path, "input_shape": SHAPE, "folds": 2, **FAST | {"epochs": 50}}
        with pytest.warns(UserWarning, match="interrupted"), pytest.raises(KeyboardInterrupt):
            compare(sample_dir, [SMALL], **options, augment=PressCtrlC())
        assert not list(tmp_path.glob("rows/*"))

    def test_refusals(self, sample_dir, tmp_path):
        with pytest.raises(ValueError, match="models must name at least one model, each once, got"):
            compare(sample_dir, ["lrcn", "lrcn"], output_dir=tmp_path)
        with pytest.raises(ValueError, match="name must be one of"):
            compare(sample_dir, ["lcrn"], output_dir=tmp_path)
        assert not list(tmp_path.iterdir())
