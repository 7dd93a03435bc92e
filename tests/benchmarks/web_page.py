"""What the page of `harkeras export --format web` says of videos, beside the library.

    python tests/benchmarks/web_page.py MODEL VIDEO [VIDEO ...]

Chromium, Playwright and the extra `onnx` are needed. Each video is dropped on the page; then the library sees
it as a stream. Differences are those of the averaged probabilities of the same window. Of pixels, they are in
gray levels of 255, of a few frames as the model sees them: browsers and FFmpeg convert colors and scale
pictures each in their way.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser import open_chromium, open_page, serve_files
from conftest import find_chromium

from harkeras import predict_on_video
from harkeras.deploy import export_model
from harkeras.models.saving import load_model
from harkeras.video.reading import frames_extraction

MOMENTS = (0.23, 0.77, 1.13, 1.51)  # between the frames of common rates
TIMELINE = """async () => {
    const { timeline } = await import("./app.js");
    return timeline.windows.map(({ smoothed }) => smoothed);
}"""
PIXELS = """async (moments) => {
    const { Picture } = await import("./picture.js");
    const recipe = await (await fetch("recipe.json")).json();
    const [picture, video, seen] = [new Picture(recipe), document.querySelector("video"), []];
    for (const moment of moments) {
        const sought = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
        video.currentTime = moment;
        await sought;
        picture.draw(video);
        seen.push(Array.from(picture.read()));
    }
    return { seen, size: `${video.videoWidth} x ${video.videoHeight}`, seconds: video.duration };
}"""


def look(page, video):
    """Drop a video on the page: what it says, what it sees, and how long it takes."""
    page.evaluate("() => delete document.body.dataset.done")
    start = time.perf_counter()
    page.locator("#file").set_input_files(video)
    page.locator("body[data-done]").wait_for()
    seconds = time.perf_counter() - start
    return np.array(page.evaluate(TIMELINE)), page.evaluate(PIXELS, list(MOMENTS)), seconds


def read_here(video, recipe, moment):
    span = {"start_seconds": moment - 0.001, "end_seconds": moment + 0.001}
    size = (1, recipe.height, recipe.width)
    return frames_extraction(video, *size, interpolation=recipe.interpolation, **span)[0].astype(float)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    args = parser.parse_args()
    model = load_model(args.model)
    print(
        "| video | pixels | windows | median difference | largest | same class | pixels differ by | times "
        "real time |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        page_folder = Path(folder) / "page"
        export = export_model(model, page_folder, format="web")
        with serve_files(page_folder) as url, open_chromium(find_chromium()) as browser:
            page = open_page(browser, url)
            page.locator("body[data-ready]").wait_for()
            looks = [look(page, video) for video in args.videos]
    for video, (smoothed, pixels, seconds) in zip(args.videos, looks, strict=True):
        here = predict_on_video(video, model, causal=True, progress=False).smoothed
        count = min(len(smoothed), len(here))
        differences = np.abs(smoothed[:count] - here[:count]).max(axis=1)
        same = np.mean(smoothed[:count].argmax(axis=1) == here[:count].argmax(axis=1))
        frames = [read_here(video, model.recipe, moment) for moment in MOMENTS]
        seen = [np.reshape(each, frame.shape) for each, frame in zip(pixels["seen"], frames, strict=True)]
        gray_levels = np.mean([np.abs(each - frame).mean() for each, frame in zip(seen, frames, strict=True)])
        print(
            f"| {video.stem} | {pixels['size']} | {count} | {np.median(differences):.4f} | "
            f"{differences.max():.3f} | {same:.1%} | {gray_levels:.1f} | {pixels['seconds'] / seconds:.1f} |"
        )
    print(f"\n{export}")


if __name__ == "__main__":
    main()
