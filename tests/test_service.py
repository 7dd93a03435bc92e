"""A model behind HTTP, asked without a network: answers, and what is refused with which status."""

import asyncio
import http.server
import io
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_watching import color_model, color_video  # noqa: F401  the fixture

from harkeras.deploy import ServiceLimits, create_service
from harkeras.inference.frame_watcher import FrameWatcher
from harkeras.inference.prediction import predict_on_video, predict_single_action

pytest.importorskip("fastapi", reason="pip install harkeras[serve]")
pytest.importorskip("python_multipart", reason="pip install harkeras[serve]")
pytest.importorskip("prometheus_client", reason="pip install harkeras[serve]")
pytest.importorskip("httpx", reason="pip install harkeras[test]")

from starlette.requests import Request
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from harkeras.deploy.serving import app as service_app
from harkeras.deploy.serving.errors import HTTPException
from harkeras.deploy.serving.fetch import fetch_video
from harkeras.deploy.serving.uploads import receive_video


@pytest.fixture(scope="module")
def model():
    return color_model()


@contextmanager
def serving(model, token=None, headers=None, **options):
    app = create_service(model, token=token, **options)
    with TestClient(app, base_url="http://127.0.0.1", headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def client(model):
    with serving(model) as client:
        yield client


def send(client, video, mode="timeline"):
    return client.post("/predict", params={"mode": mode}, files={"video": ("../../name", video.read_bytes())})


def refused(answer, status, words):
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["detail"]
    assert words in answer.json()["detail"]


def jpeg(color=(250, 0, 0), height=48, width=64):
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), color, np.uint8)).save(file, "jpeg")
    return file.getvalue()


# Answers


def test_answer_is_that_of_predict_single_action(client, model, color_video):  # noqa: F811
    for letters in ("r", "rg"):  # one window, and several
        video = color_video(letters, seconds=2)
        answer = send(client, video, "single").json()
        assert answer == predict_single_action(video, model)._asdict() | {"segments": None}


def test_timeline_is_that_of_predict_on_video(client, model, color_video):  # noqa: F811
    video = color_video("rgb", seconds=3)
    prediction = predict_on_video(video, model, progress=False)
    answer = send(client, video).json()
    assert answer["segments"] == [segment._asdict() for segment in prediction.segments]
    assert [segment["label"] for segment in answer["segments"]] == ["red", "green", "blue"]
    assert answer["probabilities"] == prediction.probabilities_of()
    assert answer["label"] == prediction.held_actions()[0].label


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "litert"])
def test_other_engines(model, color_video, runtime):  # noqa: F811
    for name in {"onnx": ("onnxruntime", "tf2onnx"), "litert": ("ai_edge_litert",)}[runtime]:
        pytest.importorskip(name, reason=f"pip install harkeras[{runtime}]")
    videos = [color_video(letters, seconds=2, name=f"{letters}.mp4") for letters in ("r", "g", "rgb")] * 4
    with serving(model, runtime=runtime) as client, ThreadPoolExecutor(6) as pool:
        for video, answer in zip(videos, pool.map(lambda video: send(client, video), videos), strict=True):
            expected = predict_on_video(video, model, progress=False)
            assert answer.json()["probabilities"] == pytest.approx(expected.probabilities_of(), abs=1e-5)


def test_nothing_is_left_behind(client, model, color_video):  # noqa: F811
    app = create_service(model)
    with TestClient(app, base_url="http://127.0.0.1") as other:
        folder = next(
            route for route in app.routes if route.path == "/predict"
        ).endpoint.__self__._folder.name
        assert send(other, color_video("r")).status_code == 200
        assert not [*Path(folder).iterdir()]
    assert not Path(folder).exists()


def test_health_metrics_and_description(client, color_video):  # noqa: F811
    assert client.get("/health").json() == {"status": "ready"}
    send(client, color_video("r"))
    text = client.get("/metrics").text
    assert 'harkeras_requests_total{path="/predict",status="200"}' in text
    assert "harkeras_requests_here 0.0" in text
    assert 'harkeras_batch_size_bucket{le="1.0"}' in text
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/health", "/metrics", "/predict"}
    assert {"413", "415", "422", "429", "503"} <= set(paths["/predict"]["post"]["responses"])
    assert client.get("/docs").status_code == 200


def test_two_services_count_for_themselves(model):
    with serving(model) as one, serving(model) as other:
        one.get("/health")
        assert '"/health"' in one.get("/metrics").text
        assert '"/health"' not in other.get("/metrics").text


# Refusals


def test_what_is_no_video(client, tmp_path, make_video, color_video):  # noqa: F811
    whole = color_video("r").read_bytes()
    cases = {
        "a text": b"nothing of the kind",
        "a list of other files": b"ffconcat version 1.0\nfile video-0\n",
        "a playlist": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        "a picture": jpeg(),
        "half a file": whole[: len(whole) // 2],
        "an empty one": b"",
    }
    for name, content in cases.items():
        (tmp_path / "sent").write_bytes(content)
        answer = send(client, tmp_path / "sent")
        refused(answer, 422, "video")
        assert "/" not in answer.json()["detail"], name


def test_what_is_no_request(client):
    refused(client.post("/predict", content=b"x"), 415, "multipart/form-data or application/json")
    refused(client.post("/predict", files={"clip": b"x"}), 422, "a file named 'video'")
    refused(client.post("/predict", data={"video": "x"}, files={"x": b""}), 422, "a file named 'video'")
    form = {"content-type": "multipart/form-data"}
    refused(client.post("/predict", content=b"x", headers=form), 400, "the form cannot be read")
    refused(client.post("/predict", json=["x"]), 422, "an object with an address")
    refused(client.post("/predict?mode=other", json={"url": "http://a"}), 422, "'timeline' or 'single'")


def test_one_person_at_a_time_is_for_single(tmp_path, color_video):  # noqa: F811
    with serving(color_model(subject="person")) as client:
        refused(send(client, color_video("r")), 422, "one person at a time")


def test_too_large(model, tmp_path, color_video, write_huge_header):  # noqa: F811
    video = color_video("r", seconds=2)
    with serving(model, limits=ServiceLimits(megabytes=0.001)) as client:
        refused(client.post("/predict", files={"video": bytes(200_000)}), 413, "0.001 megabytes")
        refused(client.post("/predict", files={"video": bytes(2_000)}), 413, "0.001 megabytes")
        kind = {"content-type": "multipart/form-data; boundary=x"}
        blocks = (bytes(50_000) for _ in range(10))  # of a length that nobody says
        refused(client.post("/predict", content=blocks, headers=kind), 413, "0.001 megabytes")
    with serving(model, limits=ServiceLimits(seconds=1.5, pixels=48 * 64 - 1)) as client:
        refused(send(client, video), 413, "3071 pixels")
    with serving(model, limits=ServiceLimits(seconds=1.5)) as client:
        refused(send(client, video), 413, "1.5 seconds long, got 2.0")
        refused(send(client, write_huge_header(tmp_path / "huge.avi")), 413, "pixels")


def test_header_that_lies_is_found_out(model, monkeypatch, color_video):  # noqa: F811
    from harkeras.deploy.serving import answers
    from harkeras.video.headers import VideoHeader

    monkeypatch.setattr(answers, "read_header", lambda *_, **__: VideoHeader(1, 1, None))
    with serving(model, limits=ServiceLimits(seconds=1.5)) as client:
        refused(send(client, color_video("r", seconds=2)), 413, "seconds long")


def test_too_many(model, monkeypatch, color_video):  # noqa: F811
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def answer(*_):
        begun.release()
        assert go_on.wait(30)
        return service_app.Answer(label="red", confidence=1, probabilities={})

    monkeypatch.setattr(service_app, "answer_video", answer)
    video = color_video("r")
    for limits, status, words in (
        (ServiceLimits(workers=1, queue=1), 503, "all places"),
        (ServiceLimits(workers=1, queue=4, per_client=2), 429, "its share"),
    ):
        go_on.clear()
        with serving(model, limits=limits) as client, ThreadPoolExecutor(2) as pool:
            others = [pool.submit(send, client, video) for _ in range(2)]
            assert begun.acquire(timeout=30)
            while "harkeras_requests_here 2.0" not in client.get("/metrics").text:
                time.sleep(0.01)
            answer_of_third = send(client, video)
            go_on.set()
            refused(answer_of_third, status, words)
            assert int(answer_of_third.headers["Retry-After"]) > 0
            assert [other.result().status_code for other in others] == [200, 200]
            assert send(client, video).status_code == 200


def test_a_client_that_sends_slowly_or_goes(tmp_path):
    limits = ServiceLimits(upload_seconds=0.1)
    headers = [(b"content-type", b"multipart/form-data; boundary=x")]

    def receive_by(message):
        scope = {"type": "http", "method": "POST", "headers": headers}
        return asyncio.run(receive_video(Request(scope, message), tmp_path / "video", limits))

    async def slow():
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"", "more_body": True}

    async def gone():
        return {"type": "http.disconnect"}

    with pytest.raises(HTTPException, match=r"within 0\.1 seconds") as error:
        receive_by(slow)
    assert (error.value.status_code, error.value.headers) == (408, {"Connection": "close"})
    with pytest.raises(HTTPException, match="the client has gone") as error:
        receive_by(gone)
    assert error.value.status_code == 400


def test_disk_is_full(client, monkeypatch, color_video):  # noqa: F811
    import errno

    from harkeras.deploy.serving import uploads

    def copy(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(uploads, "_copy", copy)
    refused(send(client, color_video("r")), 507, "No space left on device")


def test_token(model, color_video):  # noqa: F811
    with serving(model, token="secret") as client:
        assert client.get("/health").status_code == 200
        for given in (None, "Bearer other", "Basic secret", "secret"):
            headers = {} if given is None else {"Authorization": given}
            answer = client.get("/metrics", headers=headers)
            refused(answer, 401, "the token")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            with pytest.raises(WebSocketDenialResponse) as denied:
                client.websocket_connect("ws://127.0.0.1/stream", headers=headers).__enter__()
            assert denied.value.status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        assert send(client, color_video("r")).status_code == 200
        assert client.get("/metrics", headers={"Host": "service.example.org"}).status_code == 200
        with client.websocket_connect("ws://127.0.0.1/stream") as socket:
            socket.send_bytes(jpeg())
            assert socket.receive_json()["kind"] == "state"


def test_pages_of_other_sites_are_refused(client):
    refused(client.get("/health", headers={"Origin": "https://example.org"}), 403, "another site")
    refused(client.get("/health", headers={"Origin": "https://[x"}), 403, "another site")
    refused(client.get("/health", headers={"Host": "example.org"}), 403, "localhost")
    assert client.get("/health", headers={"Origin": "http://127.0.0.1"}).status_code == 200
    assert client.get("/health", headers={"Host": "localhost:8000"}).status_code == 200


# Addresses


@pytest.fixture
def site(color_video):  # noqa: F811
    """A server on loopback with a video, and with what leads elsewhere."""
    content = color_video("g").read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, target = self.path.partition("?to=")
            self.send_response({"/missing": 404, "/moved": 302, "/around": 302}.get(path, 200))
            if path in ("/moved", "/around"):
                self.send_header("Location", target or path)
            if path in ("/video", "/cut"):
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if path in ("/video", "/unsaid"):
                self.wfile.write(content)
            elif path == "/cut":
                self.wfile.write(content[:100])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_fetch_from_an_allowed_host(model, site):
    with serving(model, allow_hosts=[f"127.0.0.1:{site}"]) as client:
        here = f"http://127.0.0.1:{site}"

        def ask(url):
            return client.post("/predict?mode=single", json={"url": url})

        for path in ("/video", "/unsaid", f"/moved?to={here}/video", "/moved?to=/video"):
            assert ask(here + path).json()["label"] == "green"
        refused(ask(here + "/missing"), 502, "404")
        refused(ask(here + "/cut"), 502, "hangs up")
        refused(ask(here + "/around"), 502, "without an end")
        refused(ask(here + f"/moved?to=http://localhost:{site}/video"), 403, "another host")
        refused(ask(here + "/moved?to=file:///etc/passwd"), 422, "http:// or https://")
        refused(ask(here + "/moved?to=http://[x"), 422, "http:// or https://")
        refused(ask(f"http://127.0.0.1:{site + 1}/video"), 403, "nothing is fetched from 127.0.0.1")
        for url in ("file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "http://[x", "video", "", "\x00"):
            refused(ask(url), 422, "http:// or https://")


def test_fetch_from_nowhere_else(model, site, monkeypatch):
    with serving(model) as client:
        url = f"http://127.0.0.1:{site}/video"
        refused(client.post("/predict", json={"url": url}), 403, "--allow-host")
    with serving(model, allow_hosts=[f"localhost:{site}"]) as client:
        url = f"http://localhost:{site}/video"
        refused(client.post("/predict", json={"url": url}), 403, "not a public address")
    limits = ServiceLimits(megabytes=0.0001)
    with serving(model, allow_hosts=[f"127.0.0.1:{site}"], limits=limits) as client:
        for path in ("video", "unsaid"):
            url = f"http://127.0.0.1:{site}/{path}"
            refused(client.post("/predict", json={"url": url}), 413, "megabytes")


def test_a_host_that_is_slow_or_not_there(tmp_path, site):
    hosts = frozenset({f"127.0.0.1:{site}", "nobody.invalid"})
    for url, seconds, status, words in (
        ("http://nobody.invalid/x", 1.0, 502, "there is no host"),
        (f"http://127.0.0.1:{site}/video", -1.0, 408, "within -1 seconds"),
    ):
        with pytest.raises(HTTPException, match=words) as error:
            fetch_video(url, tmp_path / "video", hosts, 10**6, seconds)
        assert error.value.status_code == status


# Streams


def frames_of(video):
    from harkeras.video.reading import iter_frames

    return [frame.image for frame in iter_frames(video)]


def test_stream_says_what_the_watcher_says(client, model, color_video):  # noqa: F811
    images = frames_of(color_video("rg", seconds=3, fps=10))
    watcher = FrameWatcher(model, actions=None)
    with client.websocket_connect("ws://127.0.0.1/stream?fps=10") as socket:
        told = []
        for number, image in enumerate(images):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "jpeg", quality=95)
            expected = watcher.push(np.asarray(Image.open(file).convert("RGB")), number / 10)
            socket.send_bytes(file.getvalue())
            state = socket.receive_json()
            assert state["kind"] == "state"
            assert (state["seconds"], state["label"]) == (number / 10, expected.label)
            assert state["confidence"] == pytest.approx(expected.confidence)
            told += state["events"]
        socket.send_text(json.dumps({"end": True}))
        end = socket.receive_json()
        assert end["kind"] == "end"
        told += end["events"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 1000
    kinds = [(event["event"], event["label"]) for event in told]
    assert kinds == [("begin", "red"), ("end", "red"), ("begin", "green"), ("end", "green")]


def test_stream_takes_times_and_skips_what_is_damaged(model):
    limits = ServiceLimits(frame_megabytes=0.01, pixels=64 * 64)
    with serving(model, limits=limits) as client, client.websocket_connect("ws://127.0.0.1/stream") as socket:

        def ask(message):
            (socket.send_text if isinstance(message, str) else socket.send_bytes)(message)
            return socket.receive_json()

        socket.send_text('{"seconds": 7.5}')
        assert ask(jpeg())["seconds"] == 7.5
        whole = jpeg()
        for message, words in (
            (whole[: len(whole) // 2], "no JPEG"),
            (b"", "no JPEG"),
            (bytes(20_000), "0.01 megabytes"),
            (jpeg(height=65), "4096 pixels, got 64 x 65"),
            ("nothing", "a text must be"),
            ('{"seconds": "x"}', "a text must be"),
            ('{"seconds": 1e999}', "a text must be"),
        ):
            said = ask(message)
            assert said["kind"] == "problem", message
            assert words in said["detail"]
        socket.send_text('{"seconds": 7.5}')
        assert "increase" in ask(jpeg())["detail"]
        socket.send_text('{"seconds": 8}')
        assert ask(jpeg())["seconds"] == 8
        text = client.get("/metrics").text
        assert 'harkeras_stream_frames_total{outcome="seen"} 2.0' in text
        assert "harkeras_streams 1.0" in text


def test_stream_that_is_too_fast_or_too_silent(model):
    limits = ServiceLimits(frames_per_second=2, upload_seconds=0.2)
    with serving(model, limits=limits) as client, client.websocket_connect("ws://127.0.0.1/stream") as socket:
        said = []
        for _ in range(4):
            socket.send_bytes(jpeg())
            said.append(socket.receive_json())
        assert [each["kind"] for each in said].count("problem") >= 1
        assert "more than 2 frames in a second" in said[-1]["detail"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 1001


def test_too_many_streams(model):
    with serving(model, limits=ServiceLimits(streams=1)) as client:
        with client.websocket_connect("ws://127.0.0.1/stream"):
            with pytest.raises(WebSocketDenialResponse) as denied:
                client.websocket_connect("ws://127.0.0.1/stream").__enter__()
            assert denied.value.status_code == 503
            assert denied.value.headers["Retry-After"]
        with client.websocket_connect("ws://127.0.0.1/stream"):
            pass


def test_stream_with_a_wrong_rate_or_a_model_that_cannot(client, model, monkeypatch):
    with pytest.raises(WebSocketDisconnect):
        client.websocket_connect("ws://127.0.0.1/stream?fps=0").__enter__()

    def fail(*_):
        raise ImportError('people are followed by trackers: pip install "harkeras[people]"')

    monkeypatch.setattr(service_app, "open_stream", fail)
    with pytest.raises(WebSocketDenialResponse) as denied:
        client.websocket_connect("ws://127.0.0.1/stream").__enter__()
    assert denied.value.status_code == 501


# What is set up


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": " "}, "token must not be empty"),
        ({"allow_hosts": ["http://a"]}, "allow_hosts must be names"),
        ({"allow_hosts": ["a:b"]}, "allow_hosts must be names"),
        ({"most_together": 0}, "most_together must be an integer of at least 1"),
    ],
)
def test_arguments_are_checked(model, options, message):
    with pytest.raises(ValueError, match=message):
        create_service(model, **options)


@pytest.mark.parametrize("name", ["megabytes", "seconds", "upload_seconds", "frames_per_second"])
@pytest.mark.parametrize("value", [0, float("inf"), float("nan")])
def test_limits_are_numbers(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a finite number above 0"):
        ServiceLimits(**{name: value})


@pytest.mark.parametrize("name", ["workers", "queue", "per_client", "streams", "pixels"])
def test_limits_count(name):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1"):
        ServiceLimits(**{name: 0})


def test_missing_extra(model, monkeypatch):
    monkeypatch.delitem(sys.modules, "harkeras.deploy.serving.app")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ImportError, match=r"pip install \"harkeras\[serve\]\""):
        create_service(model)
