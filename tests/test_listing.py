import os
from pathlib import PurePath

import pytest

from harkeras.video.listing import find_videos, is_several

FILES = ["a/1.mp4", "a/1.avi", "a/x/2.MP4", "a/notes.txt", "a/.hidden/3.mp4", "a/@eaDir/1.mp4", "b/1.mov"]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(sources, **options):
    return {PurePath(video).as_posix(): name.as_posix() for video, name in find_videos(sources, **options)}


class TestFindVideos:
    def test_a_folder_is_searched_at_any_depth_and_its_tree_is_kept(self, tree):
        expected = {"a/1.avi": "1", "a/1.mp4": "1__2", "a/x/2.MP4": "x/2"}
        assert found("a") == expected
        assert list(found("a")) == list(expected)
        assert found(tree / "a") == {str(tree / video): name for video, name in expected.items()}

    def test_several_folders_keep_their_own_names(self, tree):
        names = found(["a", "b"])
        assert names == {"a/1.avi": "a/1", "a/1.mp4": "a/1__2", "a/x/2.MP4": "a/x/2", "b/1.mov": "b/1"}

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*/1.*", {"a/1.avi": "a/1", "a/1.mp4": "a/1__2", "b/1.mov": "b/1"}),
            ("a/**/*.MP4", {"a/x/2.MP4": "x/2"}),
            ("a/*", {"a/1.avi": "1", "a/1.mp4": "1__2", "a/x/2.MP4": "x/2"}),
            ("b/?.mov", {"b/1.mov": "1"}),
        ],
    )
    def test_patterns(self, tree, pattern, expected):
        assert found(pattern) == expected

    def test_files_are_taken_as_they_are(self, tree):
        assert found(["b/1.mov", "a/notes.txt", "none.mp4"]) == {
            "b/1.mov": "1",
            "a/notes.txt": "notes",
            "none.mp4": "none",
        }

    def test_a_name_with_brackets_is_a_file_where_there_is_one(self, tree):
        (tree / "b" / "take[1].mp4").touch()
        assert found("b/take[1].mp4") == {"b/take[1].mp4": "take[1]"}
        assert not is_several("b/take[1].mp4")
        assert is_several("b/take[2].mp4")

    def test_addresses(self):
        youtube = "https://www.youtube.com/watch?v=abcDEF12345&t=3"
        names = dict(find_videos([youtube, "https://example.org/v/film.mp4?x=[1]", "https://example.org"]))
        assert list(map(str, names.values())) == ["abcDEF12345", "film", "example.org"]

    def test_each_file_once(self, tree):
        (tree / "link.mp4").symlink_to("b/1.mov")
        assert found(["b/1.mov", "link.mp4", "b", str(tree / "b" / "1.mov")]) == {"b/1.mov": "1"}

    def test_names_differ_in_more_than_capitals(self, tree):
        (tree / "b" / "X.mp4").touch()
        (tree / "b" / "x.avi").touch()
        assert sorted(found("b").values()) == ["1", "X", "x__2"]

    def test_the_folder_of_outputs_is_no_input(self, tree):
        assert found(".", except_dir="a/x") == {"a/1.avi": "a/1", "a/1.mp4": "a/1__2", "b/1.mov": "b/1"}
        assert len(found("a", except_dir="a")) == 3  # it is what was asked for
        assert len(found("a/x", except_dir="a")) == 1

    def test_links_in_a_circle(self, tree):
        (tree / "a" / "x" / "up").symlink_to(tree / "a")
        assert len(found("a")) == 3

    def test_errors(self, tree):
        (tree / "empty").mkdir()
        with pytest.raises(ValueError, match="videos must name at least one file, folder, pattern or URL"):
            find_videos([])
        with pytest.raises(FileNotFoundError, match="no video lies in empty"):
            find_videos(["a", "empty"])
        with pytest.raises(FileNotFoundError, match=r"no video matches a/\*\.webm"):
            find_videos("a/*.webm")

    def test_names_that_are_not_utf8(self, tree):
        name = os.fsdecode(b"b/caf\xe9.mp4")
        (tree / name).touch()
        assert name in found("b")
