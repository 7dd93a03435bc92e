"""Files are written whole or not at all, and never onto what they must not replace."""

import errno
import os
import stat
import threading
import time
import warnings

import pytest

from harkeras.base import files as _files
from harkeras.base.files import (
    check_target,
    content_digest,
    locked,
    partial_name,
    publish,
    write_text,
    written_whole,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class TestWrittenWhole:
    def test_the_file_has_its_name_when_the_block_ends(self, tmp_path):
        with written_whole(tmp_path / "new" / "a.txt") as partial:
            partial.write_text("whole")
            assert names(tmp_path / "new") == [partial.name]
        assert names(tmp_path / "new") == ["a.txt"]
        assert (tmp_path / "new" / "a.txt").read_text() == "whole"

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_after_an_error_the_older_file_remains(self, tmp_path, error):
        (tmp_path / "a.txt").write_text("old")

        def fail():
            with written_whole(tmp_path / "a.txt") as partial:
                partial.write_text("half")
                raise error

        with pytest.raises(error):
            fail()
        assert names(tmp_path) == ["a.txt"]
        assert (tmp_path / "a.txt").read_text() == "old"

    def test_two_runs_never_share_a_temporary_name(self, tmp_path):
        assert partial_name(tmp_path / "a") != partial_name(tmp_path / "a")
        barrier = threading.Barrier(4)

        def write(letter):
            with written_whole(tmp_path / "a.txt") as partial:
                barrier.wait()
                partial.write_text(letter * 100_000)

        threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert names(tmp_path) == ["a.txt"]
        text = (tmp_path / "a.txt").read_text()
        assert text == text[0] * 100_000

    def test_a_long_name_has_a_temporary_one_that_the_disk_takes(self, tmp_path):
        write_text(tmp_path / ("ä" * 120 + ".txt"), "x")
        assert names(tmp_path) == ["ä" * 120 + ".txt"]

    def test_a_link_is_followed(self, tmp_path):
        (tmp_path / "real.txt").write_text("old")
        (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
        write_text(tmp_path / "link.txt", "new")
        assert (tmp_path / "link.txt").is_symlink()
        assert (tmp_path / "real.txt").read_text() == "new"

    def test_the_mode_of_a_new_file_is_that_of_any_new_file(self, tmp_path):
        (tmp_path / "other").touch()
        write_text(tmp_path / "a.txt", "x")
        assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_a_pipe_and_a_folder_are_refused(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match=r"regular file.*pipe, which is a device"):
            write_text(tmp_path / "pipe", "x")
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
        with pytest.raises(ValueError, match="which is a folder"):
            write_text(tmp_path, "x")

    def test_a_full_disk_is_told_with_the_name_of_the_file(self, tmp_path):
        with (
            pytest.raises(OSError, match=r"No space left on device: .*a\.txt'"),
            written_whole(tmp_path / "a.txt"),
        ):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with pytest.raises(FileNotFoundError, match=r"other\.txt"), written_whole(tmp_path / "a.txt"):
            (tmp_path / "other.txt").read_text()


def test_publish_without_overwriting_takes_the_first_name_that_is_free(tmp_path):
    for expected in ("model.keras", "model__2.keras", "model__3.keras"):
        partial = partial_name(tmp_path / "model.keras")
        partial.write_text(expected)
        assert publish(partial, tmp_path / "model.keras", overwrite=False).name == expected
        assert (tmp_path / expected).read_text() == expected
    assert len(names(tmp_path)) == 3


class TestCheckTarget:
    def test_it_leaves_no_trace_and_keeps_an_older_file(self, tmp_path):
        (tmp_path / "a.txt").write_text("old")
        assert check_target(tmp_path / "a.txt", "output") == tmp_path / "a.txt"
        assert check_target(tmp_path / "b.txt", "output", inputs=[tmp_path / "a.txt", None])
        assert names(tmp_path) == ["a.txt"]
        assert (tmp_path / "a.txt").read_text() == "old"

    def test_no_output_is_an_input_by_whatever_name(self, tmp_path):
        (tmp_path / "a.mp4").touch()
        (tmp_path / "link.mp4").symlink_to(tmp_path / "a.mp4")
        (tmp_path / "hard.mp4").hardlink_to(tmp_path / "a.mp4")
        for name in ("a.mp4", "link.mp4", "hard.mp4", "../" + tmp_path.name + "/a.mp4"):
            with pytest.raises(ValueError, match=r"output must not replace .*a\.mp4"):
                check_target(tmp_path / name, "output", inputs=[tmp_path / "a.mp4"])
        with pytest.raises(ValueError, match="timeline must not replace"):  # two outputs, neither there yet
            check_target(tmp_path / "new.csv", "timeline", inputs=[tmp_path / "new.csv"])

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="file"):
            check_target(tmp_path / "file" / "a.txt", "output")

    def test_a_null_byte(self, tmp_path):
        with pytest.raises(ValueError, match="output must be the path of a file, got"):
            check_target(f"{tmp_path}/a\0b", "output")


class TestLocked:
    def test_one_after_the_other(self, tmp_path):
        inside, most = [], []

        def work(number):
            with locked(tmp_path / "a.npy"):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.05)
                inside.remove(number)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert most == [1] * 4

    def test_who_waits_says_so(self, tmp_path):
        ready, done = threading.Event(), threading.Event()

        def hold():
            with locked(tmp_path / "a.npy"):
                ready.set()
                done.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        ready.wait(10)
        threading.Timer(0.5, done.set).start()
        with (
            pytest.warns(UserWarning, match=r"waiting for another process that writes .*a\.npy"),
            locked(tmp_path / "a.npy"),
        ):
            assert done.is_set()
        thread.join()

    def test_where_no_lock_can_be_made(self):
        with pytest.raises(OSError, match=r"/proc/a\.npy"), locked("/proc/a.npy"):
            pytest.fail("nothing holds it")


class TestContentDigest:
    def test_content_decides_and_neither_name_nor_time(self, tmp_path):
        for folder, content in (("a", b"one"), ("b", b"two"), ("c", b"one")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "clip.mp4").write_bytes(content)
            os.utime(tmp_path / folder / "clip.mp4", (0, 0))
        a, b, c = (content_digest(tmp_path / folder / "clip.mp4") for folder in "abc")
        assert a == c != b
        assert len(a) == 64

    def test_a_file_that_changes_has_another_digest(self, tmp_path):
        file = tmp_path / "a.mp4"
        file.write_bytes(b"one")
        before = content_digest(file)
        entry = file.stat()
        time.sleep(0.02)
        file.write_bytes(b"two")
        os.utime(file, ns=(entry.st_atime_ns, entry.st_mtime_ns))  # as cp -p and rsync -t do
        assert content_digest(file) != before

    def test_an_unchanged_file_is_read_once(self, tmp_path):
        file = tmp_path / "a.mp4"
        file.write_bytes(b"one")
        content_digest(file)
        hits = _files._digest.cache_info().hits
        content_digest(file)
        assert _files._digest.cache_info().hits == hits + 1

    @pytest.mark.parametrize("place", [0, 512 << 10, 100 << 20, (200 << 20) - 1])
    def test_of_a_large_file_head_middle_tail_and_size_count(self, tmp_path, place):
        def digest_of(size, at=None):
            with (tmp_path / "large.mkv").open("wb") as file:
                file.truncate(size)  # a hole, which takes no disk
                if at is not None:
                    file.seek(at)
                    file.write(b"x" * (4 << 20 if at == 100 << 20 else 1))
            return content_digest(tmp_path / "large.mkv")

        assert len({digest_of(200 << 20), digest_of(200 << 20, place), digest_of((200 << 20) + 1)}) == 3

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", tmp_path):
            with pytest.raises(OSError, match="not a regular file"):
                content_digest(path)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            content_digest(tmp_path / "none.mp4")
