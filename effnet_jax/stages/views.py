"""The two views of each image, made inside the jitted step from the images of a batch."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from effnet_jax.config import AugmentConfig
from effnet_jax.images.augment import augment, row_keys, source_size
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.stages.draws import AUGMENTED, IN_ENCODER, PAIR, VIEW
from effnet_jax.training.step import Batch

MakeViews = Callable[[str, Batch, Key[Array, ""], Sequence[int]], list[Float[Array, "b h w 3"]]]


def make_views(config: AugmentConfig, preprocessing: Preprocessing) -> MakeViews:
    """Make the function (domain, batch, key, which views) -> images.

    Each view draws its own augmentation, keyed by the row's position in the endless stream, so that the draw depends
    neither on the number of hosts nor on the rows beside it.
    """

    def views(domain: str, batch: Batch, key: Key[Array, ""], wanted: Sequence[int]) -> list[Float[Array, "b h w 3"]]:
        names = getattr(config, f"{domain}_views")

        def source(i: int) -> UInt8[Array, "b h w 3"]:
            size = source_size(names[i], preprocessing.image_size)
            other = f"other_{size}"
            images = batch[other if i == AUGMENTED and domain == "sketch" and other in batch else f"{domain}_{size}"]
            return _mirror_pairs(images, batch, key, config.mirror_pairs) if config.mirror_pairs else images

        return [
            augment(names[i], source(i), row_keys(key, batch["position"], VIEW[domain, i]), preprocessing, config)
            for i in wanted
        ]

    return views


def _mirror_pairs(
    images: UInt8[Array, "b h w 3"], batch: Batch, key: Key[Array, ""], probability: float
) -> UInt8[Array, "b h w 3"]:
    """Mirror some rows, the same ones for sketches and photos: a pair stays a pair."""
    mirrored = jax.vmap(lambda k: jax.random.bernoulli(k, probability))(row_keys(key, batch["position"], PAIR))
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def encoder_keys(domain: str, batch: Batch, key: Key[Array, ""], wanted: Sequence[int]) -> list[Key[Array, "b"]]:
    """Give the keys of what the encoder draws for each view, one per row, independent of the views' own draws."""
    return [row_keys(key, batch["position"], IN_ENCODER[domain, i]) for i in wanted]


def view_names(config: AugmentConfig, wanted: Mapping[str, Sequence[int]]) -> dict[str, tuple[str, ...]]:
    """Name the wanted views of each domain, such as a0 and a1."""
    return {domain: tuple(getattr(config, f"{domain}_views")[i] for i in which) for domain, which in wanted.items()}
