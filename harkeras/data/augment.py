"""Online augmentation: training clips changed at random while the model learns, nothing written to disk.

A model that sees each clip a little different every time learns what stays the same, the action, and not the
clips by heart. The seven filters of the field's tutorials are here (add, multiply, salt, pepper, blur,
elastic deformation, flip), crops in space and time, and a camera that turns. Each draws once for a clip and
treats every frame alike: a crop that jumped from frame to frame would be motion that nobody made. Draws
differ from clip to clip.

Every filter is a Keras layer that works in two places, by the same code:

- In the data pipeline: `train(model, dataset.for_training(augment=default_augmentation()))` calls
  `augment(clips, seed)`, uint8 in and out; the same seed gives the same clips, in any process.
- In a model, as its first layer, before any rescaling: active in training only, an identity otherwise.
  `load_model` opens the file of such a model, Keras alone only after `import harkeras.data.augment`.

The work is done by OpenCV on the CPU. Keras's own image layers could be had for some of it, with time folded
into the channels, (B, T, H, W, C) -> (B, H, W, T * C); on a CPU they were 1.5 to 60 times slower (see
`tests/benchmarks/augment.py`), RandomElasticTransform draws its strength once for a whole batch, and none
knows optical flow, whose vectors turn with the picture.
"""

from __future__ import annotations

import cv2
import numpy as np

from harkeras.data._clip_filter import (
    Augmentation,
    ClipFilter,
    ColorFilter,
    Range,
    look_up,
    register,
    scale_flow,
    turn_flow,
    within,
)
from harkeras.data.joint_augment import JointAugmentation
from harkeras.recipe import Streams


@register
class Add(ColorFilter):
    """Add one number to all pixels of a clip: brighter, or darker.

    Args:
        amount: Least and most to add, in -255 to 255.
        **kwargs: See `ClipFilter`.
    """

    def __init__(self, amount: Range = (-30, 30), **kwargs):
        """Check the arguments."""
        super().__init__(**kwargs)
        self.amount = within("amount", amount, -255, 255)

    def change_colors(self, clip, rng):
        """Look every value up in a table of 256."""
        return look_up(clip, np.arange(256) + rng.uniform(*self.amount))


@register
class Multiply(ColorFilter):
    """Multiply all pixels of a clip by one number: another exposure.

    Args:
        factor: Least and largest factor, in 0 to 10.
        **kwargs: See `ClipFilter`.
    """

    def __init__(self, factor: Range = (0.7, 1.3), **kwargs):
        """Check the arguments."""
        super().__init__(**kwargs)
        self.factor = within("factor", factor, 0, 10)

    def change_colors(self, clip, rng):
        """Look every value up in a table of 256."""
        return look_up(clip, np.arange(256) * rng.uniform(*self.factor))


@register
class Salt(ColorFilter):
    """Turn pixels white, here and there.

    Args:
        share: Least and largest share of the pixels, in 0 to 1.
        same_pixels: Whether they are the same in every frame, like dirt on a lens, or drawn for each frame,
            like the noise of a sensor.
        **kwargs: See `ClipFilter`.
    """

    value = 255

    def __init__(self, share: Range = (0.0, 0.05), *, same_pixels: bool = False, **kwargs):
        """Check the arguments."""
        super().__init__(**kwargs)
        self.share, self.same_pixels = within("share", share, 0, 1), same_pixels

    def change_colors(self, clip, rng):
        """Draw the pixels, with repetition: quicker than a draw for each pixel."""
        pixels = clip.reshape(len(clip) if self.same_pixels else 1, -1, 3).copy()  # (T or 1, pixels, RGB)
        count = round(rng.uniform(*self.share) * pixels.shape[1])
        pixels[:, rng.integers(pixels.shape[1], size=count)] = self.value
        return pixels.reshape(clip.shape)


@register
class Pepper(Salt):
    """Turn pixels black, here and there; the arguments are those of `Salt`."""

    value = 0


@register
class GaussianBlur(ColorFilter):
    """Blur all frames of a clip alike, as a lens out of focus does.

    Args:
        sigma_px: Least and largest standard deviation in pixels, in 0 to 100.
        **kwargs: See `ClipFilter`.
    """

    def __init__(self, sigma_px: Range = (0.0, 1.0), **kwargs):
        """Check the arguments."""
        super().__init__(**kwargs)
        self.sigma_px = within("sigma_px", sigma_px, 0, 100)

    def change_colors(self, clip, rng):
        """Blur frame after frame."""
        sigma = max(rng.uniform(*self.sigma_px), 1e-3)  # OpenCV takes 0 for a default
        return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in clip])


@register
class ElasticDeformation(ClipFilter):
    """Bend the picture as if it were drawn on rubber, all frames of a clip alike.

    Simard et al., "Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis",
    ICDAR 2003: every pixel moves at random, and the field of these moves is smoothed and scaled. The paper
    has sigma 4 and alpha 34 for digits of 29 x 29 pixels; here both are shares of the shorter side.

    Args:
        displacement: Least and largest root mean square of how far pixels move, as a share of the shorter
            side, in 0 to 0.5.
        smoothness: Standard deviation of the smoothing, as a share of the shorter side, above 0: the size of
            the bumps.
        **kwargs: See `ClipFilter`.
    """

    def __init__(self, displacement: Range = (0.0, 0.04), *, smoothness: float = 0.1, **kwargs):
        """Check the arguments."""
        super().__init__(**kwargs)
        if not smoothness > 0:
            raise ValueError(f"smoothness must be above 0, got {smoothness}")
        self.displacement, self.smoothness = within("displacement", displacement, 0, 0.5), smoothness

    def change(self, clip, rng):
        """Draw one field and read every frame along it; flow turns by the inverse of its derivative."""
        side = min(clip.shape[1:3])
        field = rng.uniform(-1, 1, (*clip.shape[1:3], 2)).astype(np.float32)  # (H, W, x and y)
        field = cv2.GaussianBlur(field, (0, 0), self.smoothness * side, borderType=cv2.BORDER_REFLECT)
        rms = np.sqrt((field**2).sum(axis=-1).mean())
        field *= rng.uniform(*self.displacement) * side / max(rms, 1e-9)
        y, x = np.indices(clip.shape[1:3], np.float32)
        source = cv2.convertMaps(x + field[..., 0], y + field[..., 1], cv2.CV_16SC2)
        changed = np.stack(
            [cv2.remap(frame, *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101) for frame in clip]
        )
        if clip.shape[-1] == 3:
            return changed
        (xy, xx), (yy, yx) = (np.gradient(field[..., i]) for i in (0, 1))  # (H, W): of x down, across; of y
        inverse = np.array([[1 + yy, -xy], [-yx, 1 + xx]]) / ((1 + xx) * (1 + yy) - xy * yx)
        return turn_flow(changed, inverse)


@register
class HorizontalFlip(ClipFilter):
    """Mirror a clip; not for actions that the mirror makes another, such as turning left.

    Args:
        probability: Share of the clips to flip, in 0 to 1.
        **kwargs: See `ClipFilter`.
    """

    def __init__(self, probability: float = 0.5, **kwargs):
        """Check the arguments."""
        super().__init__(**kwargs)
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must lie in 0 to 1, got {probability}")
        self.probability = probability

    def change(self, clip, rng):
        """Flip all frames at once; what moved to the right then moves to the left."""
        if rng.random() >= self.probability:
            return clip
        rows = clip.reshape(-1, *clip.shape[2:])  # (T * H, W, C)
        return scale_flow(cv2.flip(rows, 1).reshape(clip.shape), -1, 1)


@register
class RandomResizedCrop(ClipFilter):
    """Cut the same window out of every frame and enlarge it: nearer, and off the middle.

    Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, cut 8 to 100 % of an image; a clip of an
    action is better not cut that hard, or the action is gone.

    Args:
        area: Least and largest share of the area to keep, in 0.01 to 1.
        aspect: Least and largest factor by which the window is wider than the frame, in 0.1 to 10. A window
            that would leave the frame is cut.
        **kwargs: See `ClipFilter`.
    """

    def __init__(self, area: Range = (0.6, 1.0), *, aspect: Range = (0.8, 1.25), **kwargs):
        """Check the arguments."""
        super().__init__(**kwargs)
        self.area, self.aspect = within("area", area, 0.01, 1), within("aspect", aspect, 0.1, 10)

    def change(self, clip, rng):
        """Draw a window and resize it, frame after frame; motion grows with the picture."""
        height, width = clip.shape[1:3]
        area, aspect = rng.uniform(*self.area), np.exp(rng.uniform(*np.log(self.aspect)))
        h = int(np.clip(round(height * np.sqrt(area / aspect)), 1, height))
        w = int(np.clip(round(width * np.sqrt(area * aspect)), 1, width))
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        window = clip[:, top : top + h, left : left + w]
        changed = np.stack([cv2.resize(frame, (width, height)) for frame in window]).reshape(clip.shape)
        return scale_flow(changed, width / w, height / h)


@register
class Pan(ClipFilter):
    """Let the picture drift sideways, evenly over the clip: a camera that turns, or goes along.

    Some cameras stand still, others follow who walks or runs. A model must not tell one from the other by how
    fast the picture, or the person in it, goes by. What comes into the picture is its own mirror image.

    Args:
        shift: Least and largest drift from the first frame to the last, to the right, as a share of the
            width, in -1 to 1.
        **kwargs: See `ClipFilter`.
    """

    def __init__(self, shift: Range = (-0.4, 0.4), **kwargs):
        """Check the arguments."""
        super().__init__(**kwargs)
        self.shift = within("shift", shift, -1, 1)

    def check_streams(self, streams):
        """Refuse optical flow, which a camera that turns would change."""
        if streams != "rgb":
            raise ValueError(f"Pan is for clips of colors alone, and these are {streams!r}")

    def change(self, clip, rng):
        """Move frame after frame; the one in the middle stays where it is."""
        height, width = clip.shape[1:3]
        moments = (np.arange(len(clip)) - (len(clip) - 1) / 2) / max(len(clip) - 1, 1)  # -0.5 to 0.5
        shift_px = rng.uniform(*self.shift) * width * moments
        return np.stack(
            [
                cv2.warpAffine(
                    frame,
                    np.array([[1, 0, x], [0, 1, 0]]),
                    (width, height),
                    borderMode=cv2.BORDER_REFLECT_101,
                )
                for frame, x in zip(clip, shift_px, strict=True)
            ]
        )


@register
class TemporalJitter(ClipFilter):
    """Take some frames a little earlier or later, in order still: a camera that stutters.

    A frame's optical flow goes with it.

    Args:
        frames: By how many frames at most, at least 1.
        **kwargs: See `ClipFilter`.
    """

    def __init__(self, frames: int = 1, **kwargs):
        """Check the arguments."""
        super().__init__(**kwargs)
        if frames < 1:
            raise ValueError(f"frames must be at least 1, got {frames}")
        self.frames = frames

    def change(self, clip, rng):
        """Draw a shift for each frame."""
        moved = np.arange(len(clip)) + rng.integers(-self.frames, self.frames + 1, len(clip))
        return clip[np.sort(moved.clip(0, len(clip) - 1))]


@register
class TimeCrop(ClipFilter):
    """Take a part of a clip and spread it over as many frames, repeating some: later, shorter, slower.

    `ClipDataset(clip_seconds=...)` cuts files, with frames of their own for every cut; this is for clips that
    have been read. Where the action is told by its speed, keep the share near 1.

    Args:
        share: Least and largest share of the clip to keep, in 0.01 to 1.
        **kwargs: See `ClipFilter`.
    """

    def __init__(self, share: Range = (0.7, 1.0), **kwargs):
        """Check the arguments."""
        super().__init__(**kwargs)
        self.share = within("share", share, 0.01, 1)

    def change(self, clip, rng):
        """Draw where the part starts and ends; take the frames nearest to its moments."""
        length = rng.uniform(*self.share) * (len(clip) - 1)
        start = rng.uniform(0, len(clip) - 1 - length)
        return clip[np.linspace(start, start + length, len(clip)).round().astype(int)]


def default_augmentation(
    streams: Streams = "rgb", *, seed: int | None = None
) -> Augmentation | JointAugmentation:
    """Return a mild mixture for small data sets: flip, crop, light, and a little of time; or of joints.

    LRCN, trained on 20 rendered clips, named 74 % of the clips of unseen groups right instead of 67 %, in the
    mean of three seeds (`tests/benchmarks/augment.py --train`). Learning takes longer: allow for more epochs,
    or it may cost accuracy.

    Args:
        streams: What the clips show; for "flow" there is no light to change, and "pose" has
            `JointAugmentation`.
        seed: See `Augmentation`.
    """
    if streams == "pose":
        return JointAugmentation()
    filters = [HorizontalFlip(), RandomResizedCrop((0.7, 1.0)), TemporalJitter()]
    if streams != "flow":
        filters += [Add((-20, 20)), Multiply((0.8, 1.2))]
    return Augmentation(filters, "all", seed=seed)
