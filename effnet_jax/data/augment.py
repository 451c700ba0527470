"""The views A0, A1 and A2, computed on the device from decoded 8-bit images, inside the jitted step.

Every draw belongs to one row: its key comes from the row's position in the endless stream, never from its place in a
batch. So an image is augmented alike on any number of hosts and devices, in any batch and after any restart.
"""

import dataclasses
from collections.abc import Callable

import jax
from jaxtyping import Array, Float32, Key, UInt8, UInt32

from effnet_jax.data import crop_jitter
from effnet_jax.data.preprocessing import Preprocessing, normalise, source_size, standardise
from effnet_jax.data.rotation import rotate_and_crop

__all__ = ["VIEWS", "AugmentOptions", "augment", "row_keys", "source_size"]


@dataclasses.dataclass(frozen=True)
class AugmentOptions:
    """What the random views draw from. The defaults are the paper's.

    Args:
        fill: RGB, 0..255, of the corners that A1's rotation uncovers. Paper: black, also on white sketches.
        max_angle: A1 rotates by U(-max_angle, max_angle), degrees.
        mirror: probability that A1 mirrors.
        crop_area: A2's crop covers a U(low, high) share of the image, in (0, 1].
        crop_ratio: A2's crop is between low and high times as wide as high, uniform in the logarithm.
        crop_mirror: probability that A2 mirrors.
        jitter: A2 multiplies brightness, contrast and saturation by U(1 - j, 1 + j), j the first three entries, 0..1,
            and turns the hue by U(-j, j) full turns, j the last entry, 0..0.5.

    Raises:
        ValueError: fields out of their range; all of them in one message.
    """

    fill: tuple[int, ...] = (0, 0, 0)
    max_angle: float = 30.0
    mirror: float = 0.8
    crop_area: tuple[float, ...] = (0.08, 1.0)  # torchvision's default, as are the ratios; the paper names none
    crop_ratio: tuple[float, ...] = (3 / 4, 4 / 3)
    crop_mirror: float = 0.5
    jitter: tuple[float, ...] = (0.4, 0.4, 0.4, 0.1)

    def __post_init__(self):
        area, ratio, jitter = self.crop_area, self.crop_ratio, self.jitter
        rules = [
            (len(self.fill) == 3 and all(0 <= f <= 255 for f in self.fill), f"fill={self.fill} needs three of 0..255"),
            (0 <= self.max_angle <= 180, f"max_angle={self.max_angle} must lie in 0..180 degrees"),
            (0 <= self.mirror <= 1, f"mirror={self.mirror} is a probability, 0..1"),
            (0 <= self.crop_mirror <= 1, f"crop_mirror={self.crop_mirror} is a probability, 0..1"),
            (len(area) == 2 and 0 < area[0] <= area[1] <= 1, f"crop_area={area} needs 0 < low <= high <= 1"),
            (len(ratio) == 2 and 0 < ratio[0] <= ratio[1], f"crop_ratio={ratio} needs 0 < low <= high"),
            (
                len(jitter) == 4 and all(0 <= j <= 1 for j in jitter) and jitter[3] <= 0.5,
                f"jitter={jitter} needs three of 0..1 and one of 0..0.5",
            ),
        ]
        if problems := [message for ok, message in rules if not ok]:
            raise ValueError("AugmentOptions: " + "; ".join(problems))


def row_keys(key: Key[Array, ""], position: UInt32[Array, "b"], branch: int) -> Key[Array, "b"]:
    """Give each row of a batch its own key: fold_in(fold_in(key, position), branch).

    Args:
        key: root of all augmentation, a typed threefry key. Other generators do not promise the same numbers under
            vmap and sharding.
        position: place of each row in the endless stream, as the pipeline gives it.
        branch: tells apart what must draw independently: sketch and photo, and two random views of one image.

    Raises:
        ValueError: a key of another generator.
    """
    generator = str(jax.random.key_impl(key))
    if "fry" not in generator:
        raise ValueError(
            f"The augmentation key belongs to the generator {generator!r}, whose numbers depend on the batch; "
            'make it with jax.random.key(seed, impl="threefry2x32")'
        )
    return jax.vmap(lambda p: jax.random.fold_in(jax.random.fold_in(key, p), branch))(position)


def augment(
    view: str,
    source: UInt8[Array, "b h w 3"],
    keys: Key[Array, "b"],
    preprocessing: Preprocessing,
    options: AugmentOptions = AugmentOptions(),
) -> Float32[Array, "b i i 3"]:
    """Make one view of each image, scaled like every other view.

    Args:
        view: "a0" (the image itself), "a1" (rotate, mirror, centre crop) or "a2" (random crop, mirror, colour jitter).
        source: RGB at `source_size(view, preprocessing.image_size)`.
        keys: one a row, from `row_keys`; A0 draws nothing.
        preprocessing: image size and input scaling.
        options: what A1 and A2 draw from.

    Raises:
        ValueError: an unknown view, or images that are not of the view's source size.

    Source: the paper's A0, A1 and A2. Its A2 preset crops from the original file and subtracts the ImageNet mean; here
    A2 crops from the source of A1 and is scaled like the other views.
    """
    expected = source_size(view, preprocessing.image_size)
    if source.shape[1:] != (expected, expected, 3):
        raise ValueError(
            f"View {view} at {preprocessing.image_size} pixels starts from images of shape {(expected, expected, 3)}, "
            f"but got {source.shape[1:]}; resize to source_size(view, image_size)"
        )
    return VIEWS[view](source, keys, preprocessing, options)


def _plain(source: Array, keys: Array, preprocessing: Preprocessing, options: AugmentOptions) -> Array:
    """View A0: the resized image."""
    del keys, options
    return normalise(source, preprocessing)


def _rotated(source: Array, keys: Array, preprocessing: Preprocessing, options: AugmentOptions) -> Array:
    """View A1: rotate about the centre, mirror, crop the centre."""

    def one(image: Array, key: Array) -> Array:
        angle_key, mirror_key = jax.random.split(key)
        angle = jax.random.uniform(angle_key, minval=-options.max_angle, maxval=options.max_angle)
        mirrored = jax.random.bernoulli(mirror_key, options.mirror)
        return rotate_and_crop(image, angle, mirrored, preprocessing.image_size, options.fill)

    return normalise(jax.vmap(one)(source, keys), preprocessing)


def _jittered(source: Array, keys: Array, preprocessing: Preprocessing, options: AugmentOptions) -> Array:
    """View A2: random resized crop, mirror, colour jitter."""

    def one(image: Array, key: Array) -> Array:
        crop_key, mirror_key, jitter_key = jax.random.split(key, 3)
        box = crop_jitter.draw_box(crop_key, image.shape[0], options.crop_area, options.crop_ratio)
        mirrored = jax.random.bernoulli(mirror_key, options.crop_mirror)
        cropped = crop_jitter.resized_crop(image, box, mirrored, preprocessing.image_size)
        return crop_jitter.jitter_colours(cropped, *crop_jitter.draw_jitter(jitter_key, options.jitter))

    return standardise(jax.vmap(one)(source, keys), preprocessing)


View = Callable[[Array, Array, Preprocessing, AugmentOptions], Array]
VIEWS: dict[str, View] = {"a0": _plain, "a1": _rotated, "a2": _jittered}
