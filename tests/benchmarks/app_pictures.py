"""Make the pictures of the web app: `app.webp`, a result, and `teach.webp`, labels and answers.

    python tests/benchmarks/app_pictures.py RUN [--output DIR] [--sizes]

RUN is the folder of a run, such as `harkeras demo` leaves in `harkeras_demo/model`. Chromium and the extras
`app` and `test` are needed; recordings are rendered. With `--sizes`, each page is also taken at 1280 and 390
pixels, light and dark.
"""

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser import open_chromium, open_page, serve, until

from harkeras import Project, create_sample_video

SIZE, TALL = {"width": 1280, "height": 880}, {"width": 1280, "height": 1180}
EMPTY_PX = 140  # above a page's title
ACTIONS = ("Falling", "Walking", "SittingDown", "StandingUp", "Running")


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def shot(page):
    """Return a picture of a page, when what it draws has come to rest."""
    page.wait_for_timeout(1500)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image = image.crop((0, EMPTY_PX, image.width, image.height))
    return image.resize((960, image.height * 3 // 4), Image.Resampling.LANCZOS)


def make_project(folder):
    for number in range(8):
        actions = ACTIONS[number % 5 :] + ACTIONS[: number % 5]
        create_sample_video(folder / "recordings" / f"day{number}.mp4", actions=actions, group=120 + number)
    project = Project.create(folder / "project", ACTIONS, clip_seconds=2.0)
    project.add(folder / "recordings")
    project.compute_features()
    for number in range(4):
        actions = ACTIONS[number % 5 :] + ACTIONS[: number % 5]
        for place, label in enumerate(actions):
            start = 3 * place + 0.5
            project.label(folder / "recordings" / f"day{number}.mp4", start, start + 2, label)
    project.retrain()
    return project


def recognize(page, video):
    page.locator("input[type=file]").set_input_files(video)
    press(page, "Recognize")
    page.locator("button.segment").first.wait_for()
    until(lambda: page.evaluate("document.querySelector('video').readyState >= 2"))
    page.locator("button.segment").nth(3).click()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=Path("tests/benchmarks"))
    parser.add_argument("--sizes", action="store_true")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    shutil.copytree(options.run, folder / "saved_models" / "demo")
    video = folder / "long.mp4"
    create_sample_video(video)
    project = make_project(folder)
    with serve(folder) as app, open_chromium(shutil.which("chromium")) as browser:
        page = open_page(browser, app.url, viewport=SIZE)
        recognize(page, video)
        shot(page).save(options.output / "app.webp", quality=75, method=6)
        page = open_page(browser, f"{app.url}/teach?project={project.folder}", viewport=TALL)
        page.locator(".track").first.wait_for()
        frames = [shot(page)]
        page.get_by_text("Suggestions", exact=True).click()
        page.get_by_role("button").filter(has_text="Suggest").last.click()
        page.locator("button.send").wait_for()
        frames.append(shot(page))
        page.locator("button.picture").nth(9).click()
        frames.append(shot(page))
        frames[0].save(
            options.output / "teach.webp",
            save_all=True,
            append_images=frames[1:],
            duration=2500,
            loop=0,
            quality=70,
        )
        for width in (1280, 390) if options.sizes else ():
            for theme in ("light", "dark"):
                view = {"viewport": {"width": width, "height": 1000}, "color_scheme": theme}
                for name in ("", "train", "explore", f"teach?project={project.folder}", "watch"):
                    page = open_page(browser, f"{app.url}/{name}", **view)
                    page.wait_for_timeout(6000)
                    page.screenshot(
                        path=options.output / f"{name.split('?')[0] or 'recognize'}_{width}_{theme}.png",
                        full_page=True,
                    )
                    page.context.close()


if __name__ == "__main__":
    main()
