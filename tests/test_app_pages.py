"""The pages of the web app in a real browser, used as a person would."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from browser import open_chromium, open_page, serve, until

pytest.importorskip("streamlit", reason='no Streamlit: pip install "harkeras[app]"')
pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def work(tmp_path_factory, sample_dir):
    """A folder with a model in it, and a video."""
    from harkeras import create_sample_video, train_on_folder

    folder = tmp_path_factory.mktemp("app")
    train_on_folder(
        sample_dir,
        "lrcn",
        output_dir=folder / "saved_models",
        input_shape=(8, 64, 64, 3),
        epochs=1,
        batch_size=8,
    )
    create_sample_video(folder / "long.mp4", actions=("SittingDown", "StandingUp"))
    return folder


@pytest.fixture(scope="module")
def app(work):
    with serve(work, "--upload-megabytes", "1") as app:
        yield app


@pytest.fixture(scope="module")
def browser(chromium):
    with open_chromium(chromium) as browser:
        yield browser


@pytest.fixture
def visit(browser, app):
    """`visit(path)`: a page of the app, as a visitor of its own."""
    pages = []

    def open_path(path=""):
        pages.append(open_page(browser, f"{app.url}/{path}"))
        return pages[-1]

    yield open_path
    for page in pages:
        page.context.close()


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def upload(page, *files):
    page.locator("input[type=file]").set_input_files(*files)


def video(page, expression):
    return page.evaluate(f"(() => {{ const v = document.querySelector('video'); return {expression}; }})()")


def recognize(page, *files):
    upload(page, *files)
    press(page, "Recognize")
    page.locator("button.segment").first.wait_for()
    until(lambda: video(page, "v && v.readyState >= 2"))


def test_a_video_is_recognized_plays_and_is_led_by_its_timeline(visit, work):
    page = visit()
    recognize(page, work / "long.mp4")
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


def test_what_is_no_video_is_refused_in_one_sentence(visit, work):
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


def test_names_of_uploads_are_no_paths(visit, work):
    page = visit()
    before = set(work.parent.rglob("x.mp4")) | set(Path(tempfile.gettempdir()).glob("*x.mp4"))
    recognize(
        page, {"name": "../../x.mp4", "mimeType": "video/mp4", "buffer": (work / "long.mp4").read_bytes()}
    )
    page.get_by_role("heading", name="x.mp4").wait_for()
    assert set(work.parent.rglob("x.mp4")) | set(Path(tempfile.gettempdir()).glob("*x.mp4")) == before


def test_two_visitors_do_not_see_each_other_and_a_reload_begins_anew(visit, work):
    first, second = visit(), visit()
    for name, page in {"first.mp4": first, "second.mp4": second}.items():
        upload(page, {"name": name, "mimeType": "video/mp4", "buffer": (work / "long.mp4").read_bytes()})
        press(page, "Recognize")
    for name, page in {"first.mp4": first, "second.mp4": second}.items():
        page.locator("button.segment").first.wait_for()
        page.get_by_role("heading", name=name).wait_for()
    press(first, "Recognize")
    first.reload()  # in the middle of it
    first.get_by_role("heading", name="Recognize").wait_for()
    assert not first.locator("video").count()
    recognize(first, work / "long.mp4")
    folders = [
        path
        for path in Path(tempfile.gettempdir()).glob("harkeras-app-*")
        if path.stat().st_uid == os.getuid()
    ]
    assert folders
    assert all(path.stat().st_mode & 0o077 == 0 for path in folders)


def test_a_model_file_that_is_none_is_refused(visit, work):
    (work / "none.keras").write_text("no model")
    page = visit()
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option", name="A file elsewhere").click()
    field = page.get_by_label("Path of a .keras file")
    field.fill(str(work / "none.keras"))
    field.press("Enter")
    page.get_by_role("alert").get_by_text("must be a .keras file").wait_for()


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


def look_into(page, folder):
    page.get_by_label("Folder on this computer").fill(str(folder))
    page.get_by_label("Folder on this computer").press("Enter")
    press(page, "Look into it")


def test_a_folder_without_clips_is_refused(visit, tmp_path):
    (tmp_path / "empty").mkdir()
    page = visit("train")
    look_into(page, tmp_path / "empty")
    page.get_by_role("alert").get_by_text("must hold one folder of clips per class").wait_for()


def test_a_training_outlives_the_server_and_is_found_again(tmp_path, browser, sample_dir):
    from harkeras.app.trainings import list_trainings

    clips = shutil.copytree(sample_dir, tmp_path / "clips")
    (clips / "SittingDown" / "v_SittingDown_g01_c09.mp4").write_text("no video")
    with serve(tmp_path) as app:
        page = open_page(browser, f"{app.url}/train")
        look_into(page, clips)
        page.get_by_text("Left out, because they cannot be read: 1").wait_for()
        start(page, epochs=12)
        app.kill()
        assert list_trainings(tmp_path / "saved_models")[0].running
        app.start()
        page.goto(f"{app.url}/train")
        page.get_by_text("The model lies in").wait_for()
        assert len(list((tmp_path / "saved_models").glob("lrcn__*/model.keras"))) == 1
        page.get_by_text("clips that it was not trained on").first.wait_for()
        press(page, "Train another model")
        look_into(page, clips)
        start(page, epochs=1000)
        press(page, "End at once")
        page.get_by_role("alert").get_by_text("ended before it was done").wait_for()


def start(page, epochs):
    page.get_by_role("combobox", name="Model").click()
    page.keyboard.type("lrcn")  # a long list draws only what is in sight
    page.get_by_role("option", name="lrcn", exact=True).click()
    page.get_by_label("Epochs, at most").fill(str(epochs))
    press(page, "Train")
    page.get_by_text("End at once").wait_for()
