"""Make a still picture of the README: some frames of a video side by side.

    python tests/benchmarks/still_pictures.py VIDEO OUTPUT.webp SECONDS...

`watch.webp` is a clip that `harkeras watch VIDEO --record DIR` kept of a fall in a rendered video;
`people.webp` is what `predict_people` makes of the video with two people of notebook 13.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from harkeras import iter_frames


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("seconds", type=float, nargs="+")
    options = parser.parse_args()
    frames = list(iter_frames(options.video))
    chosen = [min(frames, key=lambda frame: abs(frame.seconds - at)).image for at in options.seconds]
    gap = np.full((chosen[0].shape[0], 8, 3), 255, np.uint8)
    parts = [part for image in chosen for part in (gap, image)][1:]
    Image.fromarray(np.hstack(parts)).save(options.output, quality=75, method=6)
    print(f"{options.output}: {options.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
