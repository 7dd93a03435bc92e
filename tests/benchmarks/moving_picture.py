"""Make the moving picture of the README from the annotated video that `harkeras demo` ends with.

    harkeras demo && python tests/benchmarks/moving_picture.py [harkeras_demo/long_video_actions.mp4]

It is the whole video at twice its speed, as animated WebP: a fifth of the size of a GIF, with all its colors.
"""

import argparse
from pathlib import Path

from PIL import Image

from harkeras import iter_frames


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path, nargs="?", default="harkeras_demo/long_video_actions.mp4")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".webp"))
    parser.add_argument("--every-seconds", type=float, default=0.08)
    parser.add_argument("--quality", type=int, default=60)
    options = parser.parse_args()
    first, *others = [
        Image.fromarray(frame.image) for frame in iter_frames(options.video, options.every_seconds)
    ]
    milliseconds = round(1000 * options.every_seconds / 2)
    appearance = {"duration": milliseconds, "loop": 0, "quality": options.quality, "method": 6}
    first.save(options.output, save_all=True, append_images=others, **appearance)
    print(f"{options.output}: {1 + len(others)} frames, {options.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
