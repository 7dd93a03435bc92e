"""A service as it is run: a process of its own, asked by many clients, and by slow and ill-meaning ones."""

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import keras
import numpy as np
import pytest
from PIL import Image

from harkeras import cli
from harkeras.data.samples import create_sample_video
from harkeras.inference.prediction import predict_single_action
from harkeras.models import create_lrcn_model
from harkeras.models.saving import save_model
from harkeras.recipe import Recipe

pytest.importorskip("fastapi", reason="pip install harkeras[serve]")
pytest.importorskip("uvicorn", reason="pip install harkeras[serve]")
pytest.importorskip("python_multipart", reason="pip install harkeras[serve]")
pytest.importorskip("prometheus_client", reason="pip install harkeras[serve]")

CLIENTS, UPLOAD_SECONDS = 16, 3
ROOT = Path(__file__).resolve().parents[1]


class Served:
    """`harkeras serve` in a process of its own."""

    def __init__(self, model, *options):
        command = [sys.executable, "-m", "harkeras", "serve", str(model), "--port", "0", *options]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        words = self.process.stdout.readline().split()
        assert words[:2] == ["ready", "at"], self.process.stderr.read()
        self.address = words[2].rstrip(",")
        self.port = urlsplit(self.address).port

    def ask(self, method="GET", path="/health", body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def send(self, content, mode="single"):
        boundary = uuid.uuid4().hex.encode()
        head = b'\r\nContent-Disposition: form-data; name="video"; filename="x"\r\n\r\n'
        body = b"--" + boundary + head + content + b"\r\n--" + boundary + b"--\r\n"
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
        status, answer = self.ask("POST", f"/predict?mode={mode}", body, kind)
        return status, json.loads(answer)

    def megabytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def end(self, number):
        """Ask it to end; return its exit status and what it said of errors."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture(scope="module")
def videos(tmp_path_factory, encode):
    folder = tmp_path_factory.mktemp("videos")
    return [encode(folder / f"{k}.mp4", range(k, k + 30)) for k in (0, 100, 1000)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    keras.utils.set_random_seed(3)
    model = create_lrcn_model(3, (4, 64, 64, 3))
    recipe = Recipe(("fall", "walk", "sit"), 4, 64, 64, 0.5)
    return save_model(model, tmp_path_factory.mktemp("model") / "lrcn.keras", recipe=recipe)


@pytest.fixture(scope="module")
def service(model):
    service = Served(model, "--upload-seconds", str(UPLOAD_SECONDS), "--workers", "2", "--max-megabytes", "5")
    yield service
    status, errors = service.end(signal.SIGINT)
    assert status == 0, errors
    assert "Traceback" not in errors  # whatever the tests sent
    assert "Exception" not in errors


@pytest.mark.slow
def test_many_clients_get_the_answers_of_the_function(service, model, videos):
    expected = {video: predict_single_action(video, model) for video in videos}
    contents = {video: video.read_bytes() for video in videos}

    def ask(video):
        status, answer = service.send(contents[video])
        assert status == 200, answer
        assert answer["label"] == expected[video].label
        np.testing.assert_allclose(
            [*answer["probabilities"].values()], [*expected[video].probabilities.values()], atol=1e-5
        )

    memory = []
    for _ in range(4):
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(ask, videos * 16))
        memory.append(service.megabytes())
    assert memory[-1] - memory[0] < 30  # of which nothing stays behind: a leak of a video each would be 40


@pytest.mark.slow
def test_damaged_videos_and_wrong_types(service, videos, model, tmp_path, write_huge_header):
    whole = videos[0].read_bytes()
    rng = np.random.default_rng(4)
    damaged = [whole[: int(share * len(whole))] for share in np.linspace(0, 1, 12)]
    for _ in range(12):
        bytes_ = np.frombuffer(whole, np.uint8).copy()
        bytes_[rng.integers(0, len(bytes_), 30)] = rng.integers(0, 256, 30)
        damaged.append(bytes_.tobytes())
    picture = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(picture, "png")
    damaged += [picture.getvalue(), b"%PDF-1.7", model.read_bytes(), bytes(1000), rng.bytes(10_000)]
    with ThreadPoolExecutor(8) as clients:
        for status, answer in clients.map(service.send, damaged):
            assert status in (200, 422), answer
    before = service.megabytes()
    assert service.send(write_huge_header(tmp_path / "huge.avi").read_bytes())[0] == 413
    assert service.megabytes() < before + 50  # one such frame would take 800
    assert service.send(whole)[0] == 200


@pytest.mark.slow
def test_slow_clients_hold_no_worker(service, videos):
    def trickle():
        head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
        head += b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        with socket.create_connection(("127.0.0.1", service.port), timeout=0.5) as connection:
            connection.sendall(head)
            said = b""
            for _ in range(20 * UPLOAD_SECONDS):
                try:
                    connection.send(b"a")
                    block = connection.recv(1000)
                except TimeoutError:
                    continue
                except OSError:
                    break
                if not block:
                    break
                said += block
            return said

    with ThreadPoolExecutor(8) as clients:
        slow = [clients.submit(trickle) for _ in range(8)]
        time.sleep(0.5)
        assert not any(each.done() for each in slow)
        assert service.send(videos[0].read_bytes())[0] == 200
        assert all(each.result().startswith(b"HTTP/1.1 408") for each in slow)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        b"nothing of the kind\r\n\r\n",
        b"GET /%00%ff/../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: \xff[\r\n\r\n",
    ],
)
def test_what_is_hardly_http(service, text):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(text)
        assert connection.recv(1000).split()[1] in (b"400", b"403", b"404", b"413")
    assert service.ask()[0] == 200


@pytest.mark.slow
def test_what_the_description_allows_and_does_not_allow(service):
    schemathesis = pytest.importorskip("schemathesis", reason="pip install harkeras[test]")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    wanted = [not_a_server_error, checks.status_code_conformance, checks.content_type_conformance]
    wanted.append(checks.response_schema_conformance)
    schema = schemathesis.openapi.from_url(f"{service.address}/openapi.json")
    bounded = settings(
        max_examples=30,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    tried = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        modes = [*schemathesis.GenerationMode] if operation.method == "post" else ["positive"]
        for mode in map(schemathesis.GenerationMode, modes):  # nothing is wrong with a path alone

            @bounded
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case):
                tried.add(case.path)
                case.call_and_validate(checks=wanted, timeout=60)

            check()
    assert tried == {"/health", "/metrics", "/predict"}


@pytest.mark.slow
def test_what_is_computed_is_still_answered_at_the_end(model, tmp_path):
    service = Served(model, "--token", "secret")
    assert service.ask(path="/metrics")[0] == 401
    video = tmp_path / "long.mp4"
    create_sample_video(video)
    body = b'--x\r\nContent-Disposition: form-data; name="video"; filename="x"\r\n\r\n'
    body += video.read_bytes() + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": "Bearer secret"}
    with ThreadPoolExecutor(1) as client:
        coming = client.submit(service.ask, "POST", "/predict", body, headers)
        while b"harkeras_requests_here 1.0" not in service.ask(path="/metrics", headers=headers)[1]:
            assert not coming.done()
        assert service.end(signal.SIGTERM) == (0, "")
        status, answer = coming.result()
    assert status == 200
    assert json.loads(answer)["segments"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "error: host must be 127.0.0.1 where there is no token, got 0.0.0.0"),
        (["--max-seconds", "0"], "error: seconds must be a finite number above 0, got 0.0"),
        (["--allow-host", "http://a"], "error: allow_hosts must be names such as"),
        ([], "error: no model file at nothing.keras"),
    ],
)
def test_wrong_options_end_in_one_line(monkeypatch, capsys, options, message):
    monkeypatch.delenv("HARKERAS_TOKEN", raising=False)
    monkeypatch.setattr(sys, "argv", ["harkeras", "serve", "nothing.keras", *options])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)


def test_run_service_checks_where_it_listens():
    from harkeras.deploy import run_service

    with pytest.raises(ValueError, match=r"host must be 127\.0\.0\.1 where there is no token"):
        run_service(None, host="::")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        run_service(None, port=taken.getsockname()[1])


def test_run_service_without_uvicorn(monkeypatch):
    from harkeras.deploy import run_service

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r"pip install \"harkeras\[serve\]\""):
        run_service(None)
