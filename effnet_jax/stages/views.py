"""The two views of each image, made inside the jitted step from the images of a batch."""

from collections.abc import Callable, Mapping, Sequence

from jaxtyping import Array, Float, Key

from effnet_jax.config import AugmentConfig
from effnet_jax.data.augment import augment, row_keys, source_size
from effnet_jax.data.preprocessing import Preprocessing
from effnet_jax.stages.draws import IN_ENCODER, VIEW
from effnet_jax.training.step import Batch

MakeViews = Callable[[str, Batch, Key[Array, ""], Sequence[int]], list[Float[Array, "b h w 3"]]]


def make_views(config: AugmentConfig, preprocessing: Preprocessing) -> MakeViews:
    """Make the function (domain, batch, key, which views) -> images.

    Each view draws its own augmentation, keyed by the row's position in the endless stream, so that the draw depends
    neither on the number of hosts nor on the rows beside it.
    """

    def views(domain: str, batch: Batch, key: Key[Array, ""], wanted: Sequence[int]) -> list[Float[Array, "b h w 3"]]:
        names = getattr(config, f"{domain}_views")
        return [
            augment(
                names[i],
                batch[f"{domain}_{source_size(names[i], preprocessing.image_size)}"],
                row_keys(key, batch["position"], VIEW[domain, i]),
                preprocessing,
                config,
            )
            for i in wanted
        ]

    return views


def encoder_keys(domain: str, batch: Batch, key: Key[Array, ""], wanted: Sequence[int]) -> list[Key[Array, "b"]]:
    """Give the keys of what the encoder draws for each view, one per row, independent of the views' own draws."""
    return [row_keys(key, batch["position"], IN_ENCODER[domain, i]) for i in wanted]


def view_names(config: AugmentConfig, wanted: Mapping[str, Sequence[int]]) -> dict[str, tuple[str, ...]]:
    """Name the wanted views of each domain, such as a0 and a1."""
    return {domain: tuple(getattr(config, f"{domain}_views")[i] for i in which) for domain, which in wanted.items()}
