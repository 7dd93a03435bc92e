"""Make the moving picture of the README from the annotated video of `harkeras demo`.

    harkeras demo && python tests/benchmarks/moving_picture.py [harkeras_demo/long_video_actions.mp4]

It shows the whole video at twice its speed, in 64 colors, and stays under a megabyte.
"""

import argparse
from pathlib import Path

from PIL import Image

from harkeras import iter_frames

PICTURE = Path(__file__).with_suffix(".gif")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path, nargs="?", default="harkeras_demo/long_video_actions.mp4")
    parser.add_argument("--output", type=Path, default=PICTURE)
    parser.add_argument("--every-seconds", type=float, default=0.16)
    arguments = parser.parse_args()
    frames = [
        Image.fromarray(frame.image).quantize(64, dither=Image.Dither.NONE)
        for frame in iter_frames(arguments.video, arguments.every_seconds)
    ]
    milliseconds = round(1000 * arguments.every_seconds / 2)
    frames[0].save(arguments.output, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    print(f"{arguments.output}: {len(frames)} frames, {arguments.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
