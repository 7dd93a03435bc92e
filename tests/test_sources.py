"""The source of a clip is a fact of its path below the data folder, and of its content."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harkeras.data.sources import find_sources, read_groups


def groups_of(paths, **options):
    return find_sources([f"data/{path}" for path in paths], "data", **options).groups.tolist()


class TestNames:
    def test_a_number_is_one_source_in_every_class(self):
        paths = ["Fall/v_Fall_g03_c02.mp4", "Walk/v_Walk_g03_c01.mp4", "Walk/v_Walk_g04_c01.mp4"]
        sources = find_sources(paths)
        assert sources.groups.tolist() == ["g03", "g03", "g04"]
        assert "the same in every class" in str(sources)

    def test_those_of_ucf_count_in_each_class(self):
        paths = [
            f"UCF-101/{name}/v_{name}_g{group:02d}_c{clip:02d}.avi"
            for name in ("Biking", "Diving", "TaiChi")
            for group in range(1, 26)
            for clip in range(1, 4)
        ]
        sources = find_sources(paths)
        assert len(set(sources.groups.tolist())) == 75
        assert "sources: 75 of 225 clips, the numbers of UCF's names, class by class" in str(sources)

    def test_hmdb(self):
        names = ["April_09_brush_hair_u_nm_np1_ba_goo_0", "April_09_brush_hair_u_nm_np1_ba_goo_1"]
        names += ["April_09_brush_hair_u_cm_np2_le_med_2", "Brunette_brush_hair_f_nm_np1_fr_bad_0"]
        assert groups_of(f"brush_hair/{name}.avi" for name in names) == ["April_09"] * 3 + ["Brunette"]

    def test_names_that_speak_for_a_source_are_advised(self):
        paths = [f"Jump/Jump_{i}_{j}.mp4" for i in (3, 4, 11) for j in (1, 12)]
        with pytest.warns(
            UserWarning, match=r"6 of 6 clips name no source .*pass --group-by '.*' \(3 sources\)"
        ):
            assert len(set(read_groups(paths))) == 6
        pattern = find_sources(paths).advice.split("--group-by '")[1].split("'")[0]
        assert len(set(find_sources(paths, group_by=pattern).groups.tolist())) == 3

    def test_plain_numbers_are_no_advice(self):
        assert find_sources([f"Jump/VID_{i}.mp4" for i in range(9)]).advice == ""


class TestFolders:
    def test_the_outermost_folder_inside_the_class_folder(self):
        paths = ["Fall/anna/1.mp4", "Fall/ben/1.mp4", "Walk/anna/7.mp4"]
        assert groups_of(paths) == ["anna", "ben", "anna"]

    def test_cameras_inside_persons_are_no_sources_of_their_own(self):
        paths = [
            f"{name}/person{p}/cam{c}/{name}.mp4" for name in ("Fall", "Walk") for p in (1, 2) for c in (1, 2)
        ]
        sources = find_sources([f"d/{path}" for path in paths], "d")
        assert sources.groups.tolist() == ["person1", "person1", "person2", "person2"] * 2
        assert "there are 2 folders inside these, such as cam1, which lies in 2 of them" in sources.advice
        pattern = sources.advice.split("--group-by '")[1].split("'")[0]
        assert set(groups_of(paths, group_by=pattern)) == {"cam1", "cam2"}

    def test_a_folder_of_the_archive_says_nothing(self):
        paths = [f"{name}/{name}/{i}.mp4" for name in ("Fall", "Walk") for i in range(3)]
        sources = find_sources([f"d/{path}" for path in paths], "d")
        assert sources.alone == 6
        assert len(set(sources.groups.tolist())) == 6
        deeper = [f"{name}/{name}/{who}/1.mp4" for name in ("Fall", "Walk") for who in ("anna", "ben")]
        assert groups_of(deeper) == ["anna", "ben", "anna", "ben"]

    def test_one_source_for_each_class_is_told_as_it_is(self):
        paths = [
            f"{name}/{who}/{i}.mp4" for name, who in (("Fall", "anna"), ("Walk", "ben")) for i in range(3)
        ]
        assert groups_of(paths) == ["anna"] * 3 + ["ben"] * 3
        same = [f"{name}/clips/{i}.mp4" for name in ("Fall", "Walk") for i in range(3)]
        assert find_sources([f"d/{path}" for path in same], "d").alone == 6

    def test_without_the_data_folder_they_say_nothing(self):
        paths = ["data/home/Falling/a.mp4", "data/home/Walking/b.mp4", "data/office/Falling/c.mp4"]
        with pytest.warns(UserWarning, match="3 of 3 clips name no source video"):
            assert read_groups(paths).tolist() == paths

    @given(st.permutations(range(8)), st.integers(1, 8))
    @settings(max_examples=40, deadline=None)
    def test_other_clips_of_the_list_do_not_matter_to_names(self, order, count):
        paths = [f"d/{c}/v_{c}_g{g}_c{n}.mp4" for c in "AB" for g in (1, 2) for n in (1, 2)]
        every = dict(zip(paths, read_groups(paths, data_dir="d"), strict=True))
        some = [paths[i] for i in order][:count]
        assert read_groups(some, data_dir="d").tolist() == [every[path] for path in some]

    def test_relative_and_absolute_paths_agree(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for data_dir in ("data", tmp_path / "data"):
            for path in ("data/Fall/anna/1.mp4", tmp_path / "data/Fall/ben/1.mp4"):
                other = tmp_path / "data/Walk/carl/1.mp4"
                both = find_sources([path, other, "data/Fall/dora/1.mp4"], data_dir).groups
                assert both.tolist() == [Path(path).parts[-2], "carl", "dora"]


class TestAskedFor:
    def test_a_level(self):
        paths = ["Fall/kitchen/anna/1.mp4", "Walk/hall/anna/2.mp4"]
        assert groups_of(paths, group_by="1") == ["kitchen", "hall"]
        assert groups_of(paths, group_by=2) == ["kitchen/anna", "hall/anna"]
        with pytest.raises(
            ValueError, match=r"group_by must be a level .*got 3, and Fall/kitchen/anna/1.mp4 has 2"
        ):
            groups_of(paths, group_by=3)

    def test_a_pattern(self):
        paths = ["Fall/a-2024_1.mp4", "Walk/b-2024_7.mp4", "Walk/a-2025_7.mp4"]
        assert groups_of(paths, group_by=r"/([a-z])-") == ["a", "b", "a"]
        assert groups_of(paths, group_by=r"([a-z])-(\d+)") == ["a/2024", "b/2024", "a/2025"]
        assert groups_of(paths, group_by=r"\d{4}") == ["2024", "2024", "2025"]
        with pytest.raises(
            ValueError, match=r"group_by must match every clip, got 'a-', which 1 do not: Walk/b-"
        ):
            groups_of(paths, group_by="a-")
        with pytest.raises(ValueError, match=r"group_by must be a regular expression or a level, got '\('"):
            groups_of(paths, group_by="(")

    def test_a_function(self):
        assert read_groups(["x/1_a.mp4", "y/2_b.mp4"], lambda path: path.stem[-1]).tolist() == ["a", "b"]


class TestContent:
    def test_copies_have_one_source_whatever_their_names(self, tmp_path):
        for name, content in (("A/1", "x"), ("A/Copy of 1", "x"), ("A/2", "y"), ("B/1", "z"), ("B/2", "y")):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.mp4").write_text(content)
        paths = sorted(tmp_path.rglob("*.mp4"))
        sources = find_sources(paths, tmp_path, copies=True)
        by_name = dict(
            zip([f"{p.parent.name}/{p.stem}" for p in paths], sources.groups.tolist(), strict=True)
        )
        assert by_name["A/1"] == by_name["A/Copy of 1"]
        assert by_name["A/2"] == by_name["B/2"]
        assert len(set(by_name.values())) == 3
        assert sources.copies == 2
        assert "2 of the clips are copies of others" in str(sources)

    def test_sources_that_share_a_copy_become_one(self, tmp_path):
        names = ["v_x_g01_c01", "v_x_g01_c02", "v_x_g02_c01", "v_x_g02_c02", "v_x_g03_c01"]
        for name, content in zip(names, "abbcd", strict=True):
            (tmp_path / f"{name}.mp4").write_text(content)
        groups = find_sources([tmp_path / f"{name}.mp4" for name in names], tmp_path, copies=True).groups
        assert groups.tolist() == ["g01"] * 4 + ["g03"]


def test_names_that_are_no_utf_8_become_printable():
    path = b"data/\xb2\xe2/1.mp4".decode("utf-8", "surrogateescape")
    (group,) = find_sources([path], "data").groups
    group.encode()


def test_nothing():
    assert len(read_groups([])) == 0
    assert len(find_sources([], "data").groups) == 0


def test_no_warning_where_sources_are_named():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(read_groups(["A/v_A_g01_c01.mp4"]), np.ndarray)
