"""The pages Teach and Watch in a real browser, used as a person would."""

import io
import json
import sys
from pathlib import Path

import pytest
from browser import press, until, video
from mjpeg import Camera

from harkeras import Project
from harkeras.video import VideoInfo

pytest.importorskip("streamlit", reason='no Streamlit: pip install "harkeras[app]"')
in_browser = [pytest.mark.slow, pytest.mark.browser]
ACTIONS = ("Falling", "Walking")


@pytest.fixture(scope="module")
def project(app_folder):
    """A project in which four recordings are labeled."""
    project = Project.create(
        app_folder / "project", ACTIONS, backbone="mobilenet_v2_0.35", weights=None, clip_seconds=2.0
    )
    project.add(app_folder / "recordings")
    project.compute_features()
    for number in range(4):
        actions = ACTIONS if number % 2 else ACTIONS[::-1]
        for place, label in enumerate(actions):
            project.label(
                app_folder / "recordings" / f"rec{number}.mp4", 3 * place + 0.5, 3 * place + 2.5, label
            )
    return project


def open_labels(visit, project, video="rec4.mp4"):
    """Open the player with a recording that it can play."""
    page = visit(f"teach?project={project.folder}")
    show_recording(page, video)
    return page


def show_recording(page, video):
    page.locator(".track").wait_for()
    before = page.evaluate("document.querySelector('video').src")
    page.get_by_label("Recording").click()
    page.get_by_role("option").filter(has_text=video).click()
    page.locator(f".root[data-video$='{video}']").wait_for()
    until(lambda: page.evaluate("document.querySelector('video').src") != before)
    until(lambda: page.evaluate("document.querySelector('video').readyState >= 2"))
    page.wait_for_timeout(500)  # until the list has closed, and given the keys back


def go(page, seconds):
    page.evaluate(f"document.querySelector('video').currentTime = {seconds}")
    until(lambda: abs(page.evaluate("document.querySelector('video').currentTime") - seconds) < 0.01)


def ranges_of(project, video):
    return [each[1:4] for each in project.ranges if each.video.name == video]


def mark(page, start, end, digit):
    go(page, start)
    page.keyboard.press("s")
    go(page, end)
    page.keyboard.press("e")
    page.keyboard.press(digit)


@pytest.fixture
def clean(project):
    """Nothing is labeled in two of the recordings."""
    for each in project.ranges:
        if each.video.name in ("rec4.mp4", "rec5.mp4"):
            project.remove(each)


def browser_test(function):
    for each in in_browser:
        function = each(function)
    return function


@browser_test
def test_ranges_made_with_keys_are_found_again_after_a_reload(visit, project, clean):
    page = open_labels(visit, project)
    mark(page, 0.5, 1.5, "1")
    mark(page, 2.0, 3.0, "2")
    until(lambda: len(ranges_of(project, "rec4.mp4")) == 2)
    expected = [(0.5, 1.5, "Falling"), (2.0, 3.0, "Walking")]
    assert ranges_of(project, "rec4.mp4") == [
        (pytest.approx(start, abs=0.05), pytest.approx(end, abs=0.05), label)
        for start, end, label in expected
    ]
    page.reload()
    show_recording(page, "rec4.mp4")
    until(lambda: page.locator(".range").count() == 2)
    page.locator(".range[data-label=Walking]").click()  # a range that is selected is renamed, moved, removed
    page.keyboard.press("1")
    until(lambda: [row[2] for row in ranges_of(project, "rec4.mp4")] == ["Falling", "Falling"])
    until(lambda: page.locator(".waits").count() == 0)
    page.locator(".range").nth(1).click()
    go(page, 2.5)
    page.keyboard.press("s")
    until(lambda: ranges_of(project, "rec4.mp4")[1][0] == pytest.approx(2.5, abs=0.05))
    until(lambda: page.locator(".waits").count() == 0)
    page.locator(".range").nth(1).click()
    page.keyboard.press("Delete")
    until(lambda: len(ranges_of(project, "rec4.mp4")) == 1)
    press(page, "Undo")
    until(lambda: len(ranges_of(project, "rec4.mp4")) == 2)


@browser_test
def test_keys_play_step_and_say_what_is_missing(visit, project, clean):
    page = open_labels(visit, project)
    go(page, 1.0)
    page.keyboard.press("ArrowRight")
    step = 1 / VideoInfo.read(project.folder.parent / "recordings" / "rec4.mp4").fps
    time = "document.querySelector('video').currentTime"
    until(lambda: page.evaluate(time) == pytest.approx(1 + step, abs=0.002), 10)
    page.keyboard.press("1")
    assert page.get_by_role("status").inner_text() == "First press S where the action starts."
    page.keyboard.press(" ")
    until(lambda: page.evaluate("!document.querySelector('video').paused"))
    page.keyboard.press(" ")
    until(lambda: page.evaluate("document.querySelector('video').paused"))
    assert not ranges_of(project, "rec4.mp4")


@browser_test
def test_two_tabs_do_not_overwrite_each_other(visit, project, clean):
    first, second = (open_labels(visit, project, video) for video in ("rec4.mp4", "rec5.mp4"))
    for number in range(3):
        mark(first, number, number + 0.5, "1")
        mark(second, number, number + 0.5, "2")
    until(lambda: len(ranges_of(project, "rec4.mp4")) == len(ranges_of(project, "rec5.mp4")) == 3)


@browser_test
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the files of another process")
def test_what_a_full_disk_does_not_take_is_said_and_nothing_else_is_lost(visit, project, clean, app):
    import resource

    page = open_labels(visit, project)
    mark(page, 0.5, 1.5, "1")
    until(lambda: len(ranges_of(project, "rec4.mp4")) == 1)
    launcher = app.process.pid
    server = int(Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()[0])
    before = resource.prlimit(server, resource.RLIMIT_FSIZE)
    resource.prlimit(server, resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        mark(page, 2.0, 3.0, "2")
        page.get_by_role("alert").get_by_text("Not kept").wait_for()
        page.wait_for_timeout(1000)
        at = video(page, "v.currentTime")
        assert at == pytest.approx(3.0, abs=0.05), "the video began anew"
        assert len(ranges_of(project, "rec4.mp4")) == 1
    finally:
        resource.prlimit(server, resource.RLIMIT_FSIZE, before)
    mark(page, 2.0, 3.0, "2")
    until(lambda: len(ranges_of(project, "rec4.mp4")) == 2)


@browser_test
def test_tiles_are_rejected_and_the_others_confirmed_at_once(visit, project, clean):
    page = visit(f"teach?project={project.folder}")
    page.get_by_text("Suggestions", exact=True).click()
    press(page, "Suggest")
    page.locator(".card").first.wait_for()
    count, before = page.locator(".card").count(), len(project.ranges)
    until(lambda: page.locator(".card img").first.evaluate("image => image.naturalHeight") == 120)
    page.locator(".picture").first.click()
    assert page.locator(".card.wrong").count() == 1
    page.locator(".send").click()
    until(lambda: len(project.ranges) - before >= count - 1)
    lines = (project.folder / "answers.jsonl").read_text().splitlines()[-count:]
    actions = [json.loads(line)["action"] for line in lines]
    assert actions.count("reject") == 1
    assert actions.count("confirm") == count - 1


@browser_test
def test_a_model_is_learned_and_its_score_shown(visit, project):
    page = visit(f"teach?project={project.folder}")
    press(page, "Retrain")
    page.get_by_text("Balanced accuracy").wait_for()
    assert list(project.folder.glob("models/*.keras"))
    page.get_by_text("Take it elsewhere").click()
    press(page, "Write the labels")
    until(lambda: (project.folder / "exports" / "labels.csv").exists())


@browser_test
def test_a_project_is_made_and_a_file_that_is_no_video_is_named(visit, app_folder):
    (app_folder / "text.mp4").write_text("no video\n" * 50)
    page = visit("teach")
    page.get_by_label("Folder of the project").fill(str(app_folder / "new"))
    page.keyboard.press("Enter")
    page.get_by_label("Actions to tell apart").fill("Falling, Walking")
    press(page, "Make the project")
    page.get_by_label("A file, a folder or an address").fill(str(app_folder / "text.mp4"))
    press(page, "Add")
    until(
        lambda: (
            (app_folder / "new" / "project.json").exists()
            and "text.mp4" in (app_folder / "new" / "project.json").read_text()
        )
    )
    made = Project(app_folder / "new")
    assert made.classes == ["Falling", "Walking", "Nothing"]
    assert made.recordings[0].problem


@browser_test
def test_the_camera_of_the_browser_is_watched(visit):
    page = visit("watch")
    page.frame_locator("iframe").first.get_by_role("button", name="START").click()
    picture = page.locator("[data-testid=stImage] img")
    picture.wait_for()
    first = picture.get_attribute("src")
    until(lambda: picture.get_attribute("src") != first)  # it moves
    until(lambda: picture.evaluate("image => image.naturalWidth") >= 320)
    page.get_by_text("s late").wait_for()


@browser_test
def test_a_file_is_watched_to_its_end_and_an_address_that_is_none_is_refused(visit, app_folder):
    page = visit("watch")
    page.get_by_text("START asks for the camera. Where there is none").wait_for()
    page.get_by_text("Stream", exact=True).click()
    page.get_by_label("Address of a camera").fill("file:///etc/passwd")
    page.keyboard.press("Enter")
    page.get_by_text("The address of a camera begins with rtsp:// or http://").wait_for()
    page.get_by_text("File", exact=True).click()
    page.locator("input[type=file]").set_input_files(app_folder / "recordings" / "rec1.mp4")
    press(page, "Watch")
    page.locator("[data-testid=stImage] img").wait_for()
    page.get_by_text("It has ended.").wait_for()


@browser_test
def test_a_stream_is_watched_through_a_reload_until_it_is_stopped(visit):
    with Camera() as camera:
        page = visit("watch")
        page.get_by_text("Stream", exact=True).click()
        page.get_by_label("Address of a camera").fill(camera.url)
        page.keyboard.press("Enter")
        press(page, "Watch")
        picture = page.locator("[data-testid=stImage] img")
        picture.wait_for()
        page.reload()
        picture.wait_for()
        first = picture.get_attribute("src")
        until(lambda: picture.get_attribute("src") != first)
        press(page, "Stop")
        page.get_by_text("START asks for the camera.").wait_for()
        until(lambda: not picture.count())


def test_a_suggestion_is_a_small_moving_picture(make_video):
    from PIL import Image

    from harkeras.app.contact_sheet import moving_picture

    picture = Image.open(io.BytesIO(moving_picture(make_video(), 0.4, 1.6)))
    assert (picture.format, picture.n_frames, picture.height) == ("WEBP", 12, 120)


def test_what_browsers_cannot_play_is_copied(make_video, tmp_path):
    from harkeras.app.playing_copies import make_playing_copy, playing_file
    from harkeras.teaching.labels import LabeledRecordings

    Project.create(tmp_path / "project")
    project, video = LabeledRecordings(tmp_path / "project"), make_video("a.avi", range(50))
    copy, told = playing_file(project, video), []
    assert copy != video
    make_playing_copy(video, copy, tell=lambda *what: told.append(what))
    assert told[0][1] == 0
    assert VideoInfo.read(copy).codec == "h264"
    assert VideoInfo.read(copy).duration_seconds == pytest.approx(VideoInfo.read(video).duration_seconds)
    assert playing_file(project, copy) == copy
    assert Path(copy).parent == tmp_path / "project" / "playing"
