"""The views A0, A1 and A2, computed on the device from decoded 8-bit images, inside the jitted step.

Every draw belongs to one row: its key comes from the row's position in the endless stream, never from its place in a
batch. So an image is augmented alike on any number of hosts and devices, in any batch and after any restart.
"""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float32, Key, UInt8, UInt32

from effnet_jax.config import AugmentConfig
from effnet_jax.images import crop_jitter
from effnet_jax.images.preprocessing import Preprocessing, normalise, source_size, standardise
from effnet_jax.images.rotation import rotate_and_crop

__all__ = ["VIEWS", "augment", "row_keys", "source_size"]


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
    options: AugmentConfig,
) -> Float32[Array, "b i i 3"]:
    """Make one view of each image, scaled like every other view.

    Args:
        view: "a0" (the image itself), "a1" (rotate, mirror, centre crop) or "a2" (random crop, mirror, colour jitter).
        source: RGB at `source_size(view, preprocessing.image_size)`.
        keys: one per row, from `row_keys`; A0 draws nothing.
        preprocessing: image size and input scaling.
        options: what A1 and A2 draw from; its own choice of views is not looked at.

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


def _plain(source: Array, keys: Array, preprocessing: Preprocessing, options: AugmentConfig) -> Array:
    """View A0: the resized image."""
    del keys, options
    return normalise(source, preprocessing)


def _rotated(source: Array, keys: Array, preprocessing: Preprocessing, options: AugmentConfig) -> Array:
    """View A1: rotate about the centre, mirror, crop the centre."""

    def one(image: Array, key: Array) -> Array:
        angle_key, mirror_key = jax.random.split(key)
        angle = jax.random.uniform(angle_key, minval=-options.max_angle, maxval=options.max_angle)
        mirrored = jax.random.bernoulli(mirror_key, options.mirror)
        return rotate_and_crop(image, angle, mirrored, preprocessing.image_size, options.fill)

    return normalise(jax.vmap(one)(source, keys), preprocessing)


def _jittered(source: Array, keys: Array, preprocessing: Preprocessing, options: AugmentConfig) -> Array:
    """View A2: random resized crop, mirror, colour jitter."""

    def one(image: Array, key: Array) -> Array:
        crop_key, mirror_key, jitter_key = jax.random.split(key, 3)
        box = crop_jitter.draw_box(crop_key, image.shape[0], options.crop_area, options.crop_ratio)
        mirrored = jax.random.bernoulli(mirror_key, options.crop_mirror)
        cropped = crop_jitter.resized_crop(image, box, mirrored, preprocessing.image_size)
        return crop_jitter.jitter_colours(cropped, *crop_jitter.draw_jitter(jitter_key, options.jitter))

    return standardise(jax.vmap(one)(source, keys), preprocessing)


View = Callable[[Array, Array, Preprocessing, AugmentConfig], Array]
VIEWS: dict[str, View] = {"a0": _plain, "a1": _rotated, "a2": _jittered}
