"""What is behind the pages of the web app: the worker's process, trainings, and folders of servers."""

import json
import os
import time

import pytest
from filelock import FileLock

pytest.importorskip("streamlit", reason='no Streamlit: pip install "harkeras[app]"')

from harkeras.app import storage, training_process, trainings
from harkeras.app.jobs import one_line
from harkeras.app.training_process import EPOCHS, LOCK, LOG, PROCESS, RESULT, SETTINGS
from harkeras.app.worker import CanceledError, Worker
from harkeras.base.progress import progress_bar


class TestProgress:
    def test_a_function_hears_of_what_is_done(self):
        told = []
        items = progress_bar(range(4), "Counting", 4, lambda *each: told.append(each), unit="item")
        assert list(items) == [0, 1, 2, 3]
        assert told == [("Counting", share) for share in (0, 0.25, 0.5, 0.75, 1)]

    def test_what_it_raises_ends_the_work(self):
        def tell(_, share):
            if share >= 0.5:
                raise CanceledError

        with progress_bar(None, "Counting", 4, tell, unit="item") as bar:
            bar.update()
            with pytest.raises(CanceledError):
                bar.update()


@pytest.fixture(scope="module")
def worker():
    return Worker()


class TestWorker:
    def test_answers_come_with_progress(self, worker, sample_dir):
        told = []
        contents = worker.call(
            "inspecting.inspect_folder", str(sample_dir), tell=lambda *each: told.append(each)
        )
        assert [row["clips"] for row in contents["rows"]] == [8, 8]
        assert {doing for doing, _ in told} >= {"Listing", "Reading clips"}

    def test_errors_are_raised_here(self, worker, tmp_path):
        with pytest.raises(RuntimeError, match="must hold one folder of clips per class"):
            worker.call("inspecting.inspect_folder", str(tmp_path), tell=lambda *_: None)

    def test_a_call_is_canceled_and_the_next_one_answered(self, worker, sample_dir):
        def tell(*_):
            raise CanceledError

        with pytest.raises(CanceledError):
            worker.call("inspecting.inspect_folder", str(sample_dir), tell=tell)
        assert worker.call("inspecting.inspect_folder", str(sample_dir), tell=lambda *_: None)

    def test_a_process_that_died_is_started_again(self, worker, sample_dir):
        def tell(*_):
            worker._process.kill()

        with pytest.raises(RuntimeError, match="the computing process has ended"):
            worker.call("inspecting.inspect_folder", str(sample_dir), tell=tell)
        assert worker.call("inspecting.inspect_folder", str(sample_dir), tell=lambda *_: None)


class TestTraining:
    @pytest.fixture
    def training(self, tmp_path):
        (tmp_path / SETTINGS).write_text(json.dumps({"model": "lrcn"}))
        return trainings.Training(tmp_path)

    def test_it_runs_while_its_process_holds_the_lock(self, training, tmp_path):
        (tmp_path / PROCESS).write_text("1")
        with FileLock(tmp_path / LOCK, is_singleton=False):
            assert training.running
        assert not training.running
        assert training.result == {"error": "Its process was ended before it was done."}

    def test_a_number_that_a_stranger_has_is_left_alone(self, training, tmp_path, monkeypatch):
        (tmp_path / PROCESS).write_text(str(os.getpid()))
        monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a stranger was ended"))
        training.stop(at_once=True)

    def test_what_is_stopped_before_it_begins_never_trains(self, training, tmp_path, monkeypatch):
        monkeypatch.setattr(training_process, "_train", lambda *_: pytest.fail("it trains"))
        training.stop(at_once=True)
        training_process.main(tmp_path)
        assert not training.running
        assert training.result == {"error": "Its process was ended before it was done."}

    def test_what_never_began_has_ended(self, training, tmp_path):
        assert training.running
        long_ago = time.time() - 100
        os.utime(tmp_path / SETTINGS, (long_ago, long_ago))
        assert not training.running

    def test_its_state_is_read_from_the_folder(self, training, tmp_path):
        (tmp_path / LOG).write_bytes(
            "Reading clips into 2 MB: 100%|██| 9/9 [00:01<00:00, 9clip/s]\n"
            "  0%|  | 0/6 [00:00<?, ?epoch/s]\r 17%|█ | 1/6 [00:13<01:05, 13.04s/epoch, loss=1.7]".encode()
        )
        assert training.progress == ("Training", 0.17, "01:05")
        (tmp_path / EPOCHS).write_text("epoch,loss,val_loss\n0,1.5,1.6\n1,1.4,1.5\n2,1.3")
        assert training.epochs == [
            {"epoch": 1, "loss": 1.5, "val_loss": 1.6},
            {"epoch": 2, "loss": 1.4, "val_loss": 1.5},
        ]
        (tmp_path / RESULT).write_text('{"run": "saved"}')
        assert training.result == {"run": "saved"}


def test_folders_of_servers_that_are_gone_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.tempfile, "gettempdir", lambda: str(tmp_path))
    for name in ("harkeras-app-gone", "harkeras-app-here", "harkeras-app-other"):
        (tmp_path / name).mkdir()
    for name in ("gone", "here"):
        (tmp_path / f"harkeras-app-{name}" / "server.lock").touch()
    with FileLock(tmp_path / "harkeras-app-here" / "server.lock", is_singleton=False):
        storage.remove_leftovers()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["harkeras-app-here", "harkeras-app-other"]


def test_errors_are_one_line_with_the_names_that_the_visitor_knows():
    assert one_line(ValueError("/tmp/secret/u.mp4:\n no\x1b video"), {"/tmp/secret/u.mp4": "my.mp4"}) == (
        "my.mp4: no\\x1b video"
    )
