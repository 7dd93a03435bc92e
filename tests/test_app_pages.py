"""The pages of the web app in a real browser, used as a person would."""

import contextlib
import http.server
import os
import re
import shutil
import tempfile
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from browser import ASSETS, SECONDS, choose, open_page, press, serve, until, upload, video

pytest.importorskip("streamlit", reason='no Streamlit: pip install "harkeras[app]"')
pytestmark = [pytest.mark.slow, pytest.mark.browser]


def recognize(page, *files):
    upload(page, *files)
    press(page, "Recognize")
    page.locator("button.segment").first.wait_for()
    until(lambda: video(page, "v && v.readyState >= 2"))


def test_a_video_is_recognized_plays_and_is_led_by_its_timeline(visit, app_folder):
    page = visit()
    recognize(page, app_folder / "long.mp4")
    assert video(page, "[v.videoWidth, v.videoHeight]") == [320, 240]
    video(page, "v.play() && 0")
    until(lambda: video(page, "v.currentTime") > 0.2)
    video(page, "v.pause()")
    chart = page.locator(".plot").bounding_box()
    page.mouse.click(chart["x"] + 0.75 * chart["width"], chart["y"] + 40)
    until(lambda: abs(video(page, "v.currentTime / v.duration") - 0.75) < 0.05)
    last = page.locator("button.segment").last
    last.click()
    start = float(last.get_attribute("data-start"))
    until(lambda: abs(video(page, "v.currentTime") - start) < 0.1)
    with page.expect_download() as download:
        press(page, "CSV")
    assert download.value.suggested_filename == "long_actions.csv"
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0] == "start_seconds,end_seconds,label,confidence"
    assert len(lines) == 1 + page.locator("button.segment").count()


@pytest.mark.real_data
def test_a_real_clip_is_recognized(visit, real_data):
    page = visit()
    recognize(page, next((real_data / "surveillance_fights" / "Fight").glob("*.mp4")))
    assert video(page, "v.videoWidth") > 0


def test_what_is_no_video_is_refused_in_one_sentence(visit, app_folder):
    page = visit()
    alert = page.get_by_role("alert").first
    upload(page, {"name": "empty.mp4", "mimeType": "video/mp4", "buffer": b""})
    alert.get_by_text("empty.mp4 is empty").wait_for()
    page.reload()
    upload(page, {"name": "text.mp4", "mimeType": "video/mp4", "buffer": b"no video\n" * 50})
    press(page, "Recognize")
    alert.get_by_text("text.mp4").wait_for()
    assert "harkeras-app" not in alert.inner_text()
    page.reload()
    upload(page, {"name": "large.mp4", "mimeType": "video/mp4", "buffer": bytes(1_200_000)})
    page.get_by_text("1.0MB or smaller").wait_for()


def test_names_of_uploads_are_no_paths(visit, app_folder):
    page = visit()
    before = set(app_folder.parent.rglob("x.mp4")) | set(Path(tempfile.gettempdir()).glob("*x.mp4"))
    recognize(
        page,
        {"name": "../../x.mp4", "mimeType": "video/mp4", "buffer": (app_folder / "long.mp4").read_bytes()},
    )
    page.get_by_role("heading", name="x.mp4").wait_for()
    assert set(app_folder.parent.rglob("x.mp4")) | set(Path(tempfile.gettempdir()).glob("*x.mp4")) == before


def test_two_visitors_do_not_see_each_other(visit, app_folder):
    pages = {"first.mp4": visit(), "second.mp4": visit()}
    content = (app_folder / "long.mp4").read_bytes()
    for name, page in pages.items():
        upload(page, {"name": name, "mimeType": "video/mp4", "buffer": content})
    for page in pages.values():
        press(page, "Recognize")
    for name, page in pages.items():
        page.locator("button.segment").first.wait_for()
        page.get_by_role("heading", name=name).wait_for()
    tokens = {parse_qs(urlsplit(page.url).query)["visit"][0] for page in pages.values()}
    assert len(tokens) == 2
    folders = [
        path
        for path in Path(tempfile.gettempdir()).glob("harkeras-app-*")
        if path.stat().st_uid == os.getuid()
    ]
    assert folders
    assert all(path.stat().st_mode & 0o077 == 0 for path in folders)


@pytest.fixture
def site(app_folder):
    """A server of one video, which it gives out when `site.open` is set."""
    content, opened = (app_folder / "long.mp4").read_bytes(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            opened.wait(SECONDS)
            self.send_response(200)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.open = opened
        server.address = f"http://127.0.0.1:{server.server_port}/clip.mp4"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        opened.set()
        server.shutdown()


def recognize_address(page, address):
    page.get_by_text("Address", exact=True).click()
    page.get_by_label("A page of YouTube or another site").fill(address)
    page.keyboard.press("Enter")
    press(page, "Recognize")
    page.get_by_text("Downloading").wait_for()


def test_an_address_is_recognized_and_a_reload_in_the_middle_loses_nothing(visit, site):
    page = visit("recognize")  # which lies at the root
    recognize_address(page, site.address)
    other = visit()
    page.reload()
    page.get_by_text("Downloading").wait_for()
    site.open.set()
    page.locator("button.segment").first.wait_for()
    page.get_by_role("heading", name=site.address).wait_for()
    page.reload()
    page.locator("button.segment").first.wait_for()
    assert not other.locator("video").count()


def test_a_prediction_is_canceled(visit, site):
    page = visit()
    recognize_address(page, site.address)
    press(page, "Cancel")
    page.get_by_text("Ending").wait_for()
    site.open.set()
    page.get_by_text("Canceled.").wait_for()
    assert not page.locator("button.segment").count()


def test_a_model_file_that_is_none_is_refused(visit, app_folder):
    (app_folder / "none.keras").write_text("no model")
    page = visit()
    choose_file(page, app_folder / "none.keras")
    page.get_by_role("alert").get_by_text("must be a .keras file").wait_for()


def choose_file(page, path):
    choose(page, "Model", "A file elsewhere")
    field = page.get_by_label("Path of a .keras file")
    field.fill(str(path))
    field.press("Enter")


def test_a_model_without_a_recipe_is_asked_for_its_classes(visit, app_folder):
    from harkeras import create_lrcn_model

    create_lrcn_model(2, (8, 64, 64, 3)).save(app_folder / "foreign.keras")
    page = visit()
    choose_file(page, app_folder / "foreign.keras")
    names = page.get_by_label("Names of its outputs")
    names.fill("Down, Up")
    names.press("Enter")
    recognize(page, app_folder / "long.mp4")
    assert set(page.locator("button.segment").all_inner_texts()) <= {"Down", "Up", "Unsure"}


@pytest.mark.real_data
def test_a_model_of_persons_names_what_each_does(visit, app_folder, real_data):
    pytest.importorskip("trackers", reason='no trackers: pip install "harkeras[people]"')
    if not ASSETS.is_dir():
        pytest.skip("no detector of people: ../shared/models is absent")
    from harkeras import create_lrcn_model, save_model
    from harkeras.recipe import Recipe

    model = create_lrcn_model(2, (8, 64, 64, 3))
    model.recipe = Recipe(("Fight", "Peace"), 8, 64, 64, 1.0, subject="person")
    save_model(model, app_folder / "persons.keras")
    page = visit()
    choose_file(page, app_folder / "persons.keras")
    recognize(page, real_data / "surveillance_fights" / "Fight" / "v_Fight_g01_c02.mp4")
    page.get_by_role("combobox", name="Who").wait_for()


def test_refresh_shows_another_test_clip(visit):
    page = visit("explore")
    page.locator("video").first.wait_for()
    name = page.get_by_text("_c0").first
    first = name.inner_text()
    press(page, "Refresh")
    until(lambda: name.inner_text() != first)
    page.locator("video").first.wait_for()
    until(lambda: video(page, "v && v.videoWidth > 0 && v.currentTime > 0"))
    page.get_by_text("Mistakes, the surest first").click()
    page.get_by_text("named wrong").first.wait_for()
    page.get_by_text("Does it use motion?").click()
    press(page, "Measure")
    frozen = page.get_by_test_id("stMetric").filter(has_text="frozen")
    frozen.get_by_text(re.compile(r"\d+%")).wait_for()


def look_into(page, folder):
    page.get_by_label("Folder on this computer").fill(str(folder))
    page.get_by_label("Folder on this computer").press("Enter")
    press(page, "Look into it")


def test_a_folder_without_clips_is_refused(visit, tmp_path):
    (tmp_path / "empty").mkdir()
    page = visit("train")
    look_into(page, tmp_path / "empty")
    page.get_by_role("alert").get_by_text("must hold one folder of clips per class").wait_for()


def test_a_training_outlives_the_server_is_found_again_and_stopped(tmp_path, browser, sample_dir):
    from harkeras.app.trainings import list_trainings

    clips = shutil.copytree(sample_dir, tmp_path / "clips")
    (clips / "SittingDown" / "v_SittingDown_g01_c09.mp4").write_text("no video")
    with serve(tmp_path) as app:
        page = open_page(browser, f"{app.url}/train")
        look_into(page, clips)
        page.get_by_text("Left out, because they cannot be read: 1").wait_for()
        start(page)
        app.kill()
        training = list_trainings(tmp_path / "saved_models")[0]
        assert training.running
        app.start()
        until(lambda: training.epochs, 4 * SECONDS)
        page.goto(f"{app.url}/train")
        press(page, "Stop, and keep the best so far")
        page.get_by_text("The model lies in").wait_for()
        assert len(list((tmp_path / "saved_models").glob("lrcn__*/model.keras"))) == 1
        page.get_by_text("clips that it was not trained on").first.wait_for()
        press(page, "Train another model")
        look_into(page, clips)
        start(page)
        press(page, "End at once")
        page.get_by_role("alert").get_by_text("ended before it was done").wait_for()


def start(page):
    choose(page, "Model", "lrcn")
    page.get_by_label("Epochs, at most").fill("1000")
    page.get_by_label("Frames of a clip").fill("4")
    page.keyboard.press("Tab")
    press(page, "Train")
    page.get_by_text("End at once").wait_for()


def test_a_folder_of_pictures_trains_and_is_explored(tmp_path, browser, app_folder):
    """In the layout of Stanford-40."""
    from PIL import Image

    (tmp_path / "pictures" / "JPEGImages").mkdir(parents=True)
    (tmp_path / "pictures" / "ImageSplits").mkdir()
    colors = np.random.default_rng(27).integers(0, 255, (16, 3))
    for label, action in enumerate(("sitting", "standing")):
        names = [f"{action}_{number:03d}.jpg" for number in range(8)]
        for name, color in zip(names, colors[label::2], strict=True):
            image = np.full((48, 64, 3), color, np.uint8)
            image[label * 24 : label * 24 + 24] = 255
            Image.fromarray(image).save(tmp_path / "pictures" / "JPEGImages" / name)
        (tmp_path / "pictures" / "ImageSplits" / f"{action}_train.txt").write_text("\n".join(names))
    with serve(tmp_path) as app:
        page = open_page(browser, f"{app.url}/train")
        look_into(page, tmp_path / "pictures")
        page.get_by_text("16 pictures of 2 classes").wait_for()
        choose(page, "Model", "single_frame")
        page.get_by_label("Epochs, at most").fill("1")
        for side in ("Height", "Width"):
            page.get_by_label(f"{side} in pixels").fill("64")  # of 32, the maps would be single points
        page.keyboard.press("Tab")
        press(page, "Train")
        page.get_by_text("The model lies in").wait_for(timeout=4000 * SECONDS)
        page.goto(f"{app.url}/explore")
        page.get_by_text("test pictures named right").wait_for()
        picture = page.locator("[data-testid=stImage] img")
        picture.nth(1).wait_for()  # beside it, where the model looks
        until(lambda: picture.first.evaluate("image => image.naturalWidth") == 64)
        assert not page.get_by_text("Does it use motion?").count()
