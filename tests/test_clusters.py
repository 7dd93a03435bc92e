"""The same work by one process, by threads, by processes, by clusters of Dask and Ray: equal to the byte."""

import csv
import os
import shutil
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

import keras
import numpy as np
import pytest
from joblib import parallel_config
from keras import layers

from harkeras import cli, create_dataset, train
from harkeras.inference import predict_on_video, predict_on_videos, read_result
from harkeras.models.saving import save_model
from harkeras.recipe import Recipe
from harkeras.transfer.features import backbone_features
from harkeras.video.writing import VideoWriter

RGB = ("red", "green", "blue")
QUIET = {"progress": False}
SIZE = {"frames": 4, "height": 8, "width": 8}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that returns the share of each channel in the light."""
    clip = keras.Input((4, 8, 8, 3))
    light = layers.GlobalAveragePooling3D()(clip) + 1e-4
    model = keras.Model(clip, light / keras.ops.sum(light, axis=-1, keepdims=True))
    model.recipe = Recipe(RGB, 4, 8, 8, 1.0)
    return save_model(model, tmp_path_factory.mktemp("model") / "model.keras")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two classes of 20 clips of noise, in color, and one file that is no video."""
    folder, rng = tmp_path_factory.mktemp("clips") / "clips", np.random.default_rng(27)
    for number in range(40):
        with VideoWriter(
            folder / ("A", "B")[number % 2] / f"v_g{number // 4:02d}_c{number}.mp4", 25
        ) as writer:
            tint = rng.uniform(0, 1, 3)
            for _ in range(15):
                writer.write((rng.uniform(0, 255, (48, 64, 1)) * tint).astype(np.uint8))
    (folder / "A" / "bad.mp4").write_text("no video")
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*.json")}


@pytest.fixture(scope="module")
def serial(model, clips, tmp_path_factory):
    """The folder of results of one process."""
    folder = tmp_path_factory.mktemp("serial") / "results"
    results = list(predict_on_videos(clips, model, folder, **QUIET))
    assert [result.video for result in results] == sorted(map(str, clips.rglob("*.mp4")))
    return folder


def read_failures(folder):
    with (folder / "failures.csv").open(newline="") as file:
        return list(csv.reader(file))


def check_run(clips, model, serial, folder):
    """Run, and compare with one process."""
    results = list(predict_on_videos(clips, model, folder, **QUIET))
    assert sorted(result.video for result in results) == sorted(map(str, clips.rglob("*.mp4")))
    assert contents(folder) == contents(serial)
    assert read_failures(folder) == read_failures(serial)


def check_dataset(clips):
    with pytest.warns(UserWarning, match="1 of 41 clips were left out"):
        features, labels, paths = create_dataset(clips, **SIZE)
    return features.tobytes(), labels.tobytes(), paths


class TestResults:
    def test_a_file_gives_back_what_was_named(self, model, clips, serial):
        (file,) = serial.glob("A/v_g00_c0.*.json")
        result = read_result(file)
        assert result.video == str(clips / "A" / "v_g00_c0.mp4")
        assert result.prediction == predict_on_video(result.video, model, **QUIET)
        assert result.prediction.probabilities.dtype == np.float32
        assert len(contents(serial)) == 40
        (header, (path, why)) = read_failures(serial)
        assert (header, path) == (["path", "why"], str(clips / "A" / "bad.mp4"))
        assert why.startswith("not a video")

    def test_a_second_run_does_what_is_missing(self, model, clips, serial, tmp_path, monkeypatch):
        asked = []

        @wraps(predict_on_video)
        def predict(video, *arguments, **options):
            asked.append(Path(video).name)
            return predict_on_video(video, *arguments, **options)

        monkeypatch.setattr("harkeras.inference._video_tasks.predict_on_video", predict)
        videos, folder = sorted((clips / "B").iterdir())[:3], tmp_path / "results"
        next(predict_on_videos(videos, model, folder, **QUIET))
        first = contents(folder)
        list(predict_on_videos(videos, model, folder, **QUIET))
        again = list(predict_on_videos(videos, model, folder, **QUIET))
        assert asked == [path.name for path in videos]
        assert again[0].prediction == predict_on_video(videos[0], model, **QUIET)
        for name, content in first.items():
            (folder / name).write_bytes(content[:-20])  # damaged: done again
        list(predict_on_videos(videos, model, folder, **QUIET))
        assert asked[3:] == [videos[0].name]
        assert first.items() <= contents(folder).items()

    def test_results_of_other_models_settings_and_clips_are_others(self, model, clips, tmp_path):
        video, folder = tmp_path / "a.mp4", tmp_path / "results"
        other = keras.models.load_model(model)
        other.recipe = Recipe(("x", "y", "z"), 4, 8, 8, 1.0)
        other = save_model(other, tmp_path / "other.keras")
        video.write_bytes((clips / "B" / "v_g00_c1.mp4").read_bytes())
        for count, (named, options) in enumerate(
            [(model, {}), (other, {}), (model, {"threshold": 0}), (model, {"single": True})], 1
        ):
            (result,) = predict_on_videos(video, named, folder, **options, **QUIET)
            assert not result.error
            assert len(contents(folder)) == count
        video.write_bytes((clips / "B" / "v_g00_c3.mp4").read_bytes())
        list(predict_on_videos(video, model, folder, **QUIET))
        assert len(contents(folder)) == 5
        single = [read_result(path) for path in folder.glob("*.json")]
        assert sum(not hasattr(result.prediction, "segments") for result in single) == 1

    def test_elsewhere(self, model, clips, serial):
        fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
        files = fsspec.filesystem("memory")
        files.store.clear()
        files.put(str(clips), "/clips", recursive=True)
        assert len(list(predict_on_videos("memory://clips/*/v_g0[01]*", model, "memory://r", **QUIET))) == 8
        (result,) = predict_on_videos("memory://clips/A/v_g00_c0.mp4", model, "memory://r", **QUIET)
        (local,) = serial.glob("A/v_g00_c0.*.json")
        (name,) = files.glob("/r/A/v_g00_c0.*.json")
        assert result.prediction == read_result(local).prediction == read_result(f"memory:/{name}").prediction
        (bad,) = predict_on_videos("memory://clips/A/bad.mp4", model, "memory://r", **QUIET)
        assert bad.error.startswith("not a video")
        assert b"memory://clips/A/bad.mp4" in files.cat_file("/r/failures.csv")
        assert not [path for path in files.find("/r") if ".part" in path]
        with pytest.raises(FileNotFoundError, match="no video matches memory://clips/none"):
            predict_on_videos("memory://clips/none*", model, **QUIET)
        with pytest.raises(FileNotFoundError, match=r"no result at memory://r/none\.json"):
            read_result("memory://r/none.json")
        files.store.clear()

    def test_no_result(self, serial, tmp_path):
        with pytest.raises(ValueError, match="path must be a result that predict_on_videos wrote, got"):
            read_result(serial / "failures.csv")
        with pytest.raises(FileNotFoundError, match="no result at"):
            read_result(tmp_path / "none.json")

    def test_a_model_in_memory_has_no_name(self, model, clips, tmp_path):
        loaded = keras.models.load_model(model)
        loaded.recipe = Recipe(RGB, 4, 8, 8, 1.0)
        with pytest.raises(ValueError, match="model must be a path, so that it can be told from others"):
            predict_on_videos(clips, loaded, tmp_path / "results")
        with (
            parallel_config("loky", n_jobs=2),
            pytest.raises(ValueError, match="model must be a path, so that it can be sent to the workers"),
        ):
            predict_on_videos(clips, loaded)
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="must be a folder, got a file"):
            predict_on_videos(clips, model, tmp_path / "file")


def test_threads(model, clips, serial, tmp_path):
    with parallel_config("threading", n_jobs=2):
        check_run(clips, model, serial, tmp_path / "results")
        features, table = check_dataset(clips), tmp_path / "table.csv"
        list(predict_on_videos(clips, model, table=table, **QUIET))
    assert features == check_dataset(clips)
    rows = [row[0] for row in csv.reader(table.open(newline=""))]
    assert rows == ["video", *sorted(map(str, clips.rglob("*.mp4")))]


class TestCommand:
    @pytest.fixture
    def run(self, monkeypatch, capsys):
        """Run `harkeras predict-many ...` in this process; return its exit status and what it wrote."""

        def call(*arguments):
            monkeypatch.setattr(sys, "argv", ["harkeras", "predict-many", *map(str, arguments)])
            with pytest.raises(SystemExit) as stop:
                cli.main()
            return stop.value.code or 0, *capsys.readouterr()

        return call

    @pytest.mark.parametrize("backend", ["serial", "threading"])
    def test_results_and_what_could_not_be_done(self, run, model, clips, serial, tmp_path, backend):
        common = ("--model", model, "--output-dir", tmp_path / "r", "--backend", backend)
        status, out, err = run(clips, *common)
        assert (status, out) == (1, f"40 videos have results in {tmp_path / 'r'}\n")
        assert f"1 of 41 videos could not be done, see {tmp_path / 'r' / 'failures.csv'}" in err
        assert contents(tmp_path / "r") == contents(serial)
        assert run(clips / "B", *common)[0] == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ("--backend", "loky", "--scheduler", "tcp://x:1"),
                "--scheduler has no meaning here: loky works",
            ),
            (
                ("--backend", "serial", "--workers", 2),
                "--workers has no meaning here: serial is this process",
            ),
        ],
    )
    def test_what_makes_no_sense(self, run, clips, model, tmp_path, arguments, message):
        status, _, err = run(clips, "--model", model, "--output-dir", tmp_path / "r", *arguments)
        assert status == 2
        assert message in err

    @pytest.mark.parametrize(("backend", "package"), [("dask", "dask.distributed"), ("ray", "ray")])
    def test_what_is_not_installed(self, run, clips, model, tmp_path, backend, package, monkeypatch):
        monkeypatch.setitem(sys.modules, package, None)
        status, _, err = run(clips, "--model", model, "--output-dir", tmp_path / "r", "--backend", backend)
        assert (status, f'pip install "harkeras[{backend}]"' in err) == (2, True)


class TestClipFiles:
    @pytest.mark.filterwarnings("ignore:1 of 41 clips were left out")
    def test_training_from_files_is_training_from_memory(self, clips, tmp_path):
        dataset = create_dataset(clips, **SIZE)
        with parallel_config("threading", n_jobs=2):
            files = create_dataset(clips, cache=tmp_path / "files", **SIZE)
        assert (files.features.shape, files.features.dtype) == (dataset.features.shape, np.uint8)
        np.testing.assert_array_equal(files.features, dataset.features)
        assert files.video_paths == dataset.video_paths
        weights = []
        for each in (dataset, files):
            keras.utils.set_random_seed(27)
            clip = keras.Input((4, 8, 8, 3))
            color = layers.GlobalAveragePooling3D()(layers.Rescaling(1 / 255)(clip))
            model = keras.Model(clip, layers.Dense(2, "softmax")(color))
            train(model, each.split(seed=27)[0], epochs=2, batch_size=4, verbose=0)
            weights.append(np.concatenate([weight.ravel() for weight in model.get_weights()]))
        np.testing.assert_array_equal(*weights)

    @pytest.mark.filterwarnings("ignore:1 of 41 clips were left out")
    def test_each_host_reads_its_own_part(self, clips, tmp_path):
        dataset = create_dataset(clips, cache=tmp_path / "files", **SIZE)
        parts = [dataset[host::3] for host in range(3)]
        paths = sorted(path for part in parts for path in part.video_paths)
        assert paths == sorted(dataset.video_paths)
        np.testing.assert_array_equal(parts[1].features[2], dataset.features[7])
        assert len(parts[2].features[[]]) == 0

    @pytest.mark.filterwarnings("ignore:1 of 41 clips were left out")
    def test_a_second_run_reads_what_is_missing(self, clips, tmp_path, monkeypatch):
        from harkeras.people.clips import read_clip

        read = []
        monkeypatch.setattr(
            "harkeras.data.loading.read_clip",
            lambda path, *arguments, **options: (
                read.append(path.name) or read_clip(path, *arguments, **options)
            ),
        )
        cache = tmp_path / "files"
        dataset = create_dataset(clips, cache=cache, **SIZE)
        assert len(read) == 41
        read.clear()
        create_dataset(clips, cache=cache, **SIZE)
        assert read == ["bad.mp4"]
        file = next(iter(cache.iterdir()))
        file.write_bytes(file.read_bytes()[:-9])
        with (
            pytest.warns(UserWarning, match="is damaged, its pixels are computed anew"),
            pytest.raises(OSError, match="is missing or damaged: call create_dataset again"),
        ):
            np.asarray(dataset.features)
        read.clear()
        with pytest.warns(UserWarning, match="is damaged, its pixels are computed anew"):
            create_dataset(clips, cache=cache, **SIZE)
        assert len(read) == 2

    @pytest.mark.filterwarnings("ignore:1 of 41 clips were left out")
    def test_elsewhere(self, clips):
        fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
        dataset = create_dataset(clips, cache="memory://files", **SIZE)
        assert len(fsspec.filesystem("memory").find("/files")) == 40
        np.testing.assert_array_equal(dataset.features, create_dataset(clips, **SIZE).features)
        fsspec.filesystem("memory").store.clear()


@pytest.mark.slow
def test_processes(model, clips, serial, tmp_path):
    from harkeras.transfer.features import frame_encoder

    paths = sorted((clips / "B").iterdir())[:6]
    encoder = frame_encoder("mobilenet_v2", (32, 32, 3), weights=None)
    expected = backbone_features(paths, encoder, frames=2, cache=tmp_path / "one")
    with parallel_config("loky", n_jobs=2):
        check_run(clips, model, serial, tmp_path / "results")
        features = check_dataset(clips)
        with pytest.raises(
            ValueError, match="cache must name a folder for the features that workers compute"
        ):
            backbone_features(paths, encoder, frames=2)
        found = backbone_features(paths, encoder, frames=2, cache=tmp_path / "two")
    assert features == check_dataset(clips)
    assert found.features.tobytes() == expected.features.tobytes()
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


@contextmanager
def killing(folder, find_workers):
    """Kill a worker when some results are there and others are not; tell how many there were."""
    seen, over = [], threading.Event()

    def kill():
        while not (seen or over.wait(0.002)):
            if len(done := contents(folder)) >= 2:
                os.kill(find_workers()[0], signal.SIGKILL)
                seen.append(len(done))

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
def test_dask(model, clips, serial, tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    options = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with (
        distributed.LocalCluster(n_workers=2, **options) as cluster,
        distributed.Client(cluster) as client,
        parallel_config("dask"),
    ):
        features = check_dataset(clips)
        with killing(tmp_path / "results", lambda: [*client.run(os.getpid).values()]) as seen:
            check_run(clips, model, serial, tmp_path / "results")
    assert seen[0] < 40
    assert features == check_dataset(clips)


@pytest.mark.slow
def test_ray(model, clips, serial, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="ray is not installed")
    psutil = pytest.importorskip("psutil", reason="psutil is not installed")
    from ray.util.joblib import register_ray

    def find_workers():
        children = psutil.Process().children(recursive=True)
        return [child.pid for child in children if child.status() != "zombie" and "PoolActor" in child.name()]

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1])]))
    options = {"include_dashboard": False, "log_to_driver": False, "_node_ip_address": "127.0.0.1"}
    folder = tempfile.mkdtemp(prefix="ray")  # sockets have short paths, which `tmp_path` is not
    ray.init("local", num_cpus=2, _temp_dir=folder, **options)
    try:
        register_ray()
        with parallel_config("ray"):
            features = check_dataset(clips)
            with killing(tmp_path / "results", find_workers) as seen:
                check_run(clips, model, serial, tmp_path / "results")
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    assert seen[0] < 40
    assert features == check_dataset(clips)
