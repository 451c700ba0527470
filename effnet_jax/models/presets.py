"""Backbones by name: the published sizes, and what of them a configuration may change."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx

from effnet_jax.config import ModelConfig
from effnet_jax.models import convnext, inception, resnet, swin, vgg, vit
from effnet_jax.models.backbone import Backbone

HAS_BATCH_NORMS = "has batch norms, whose statistics are those of the whole batch"  # so it cannot be encoded in parts


def _vit(config: ModelConfig, rngs: nnx.Rngs, *, width: int, depth: int, heads: int) -> Backbone:
    return vit.ViT(
        width=config.width or width,
        depth=config.depth or depth,
        heads=config.heads or heads,
        image_size=config.image_size,
        patch_size=config.patch_size,
        dtype=jnp.dtype(config.dtype),
        remat=config.remat,
        stem=config.stem,
        attention=config.attention,
        rngs=rngs,
    )


def _swin(
    config: ModelConfig, rngs: nnx.Rngs, *, width: int, depths: tuple[int, int, int, int], heads: int
) -> Backbone:
    return swin.Swin(
        width=config.width or width,
        depths=_depths(config, depths),
        heads=config.heads or heads,
        image_size=config.image_size,
        drop_path=config.drop_path,
        dtype=jnp.dtype(config.dtype),
        remat=config.remat,
        rngs=rngs,
    )


def _convnext(config: ModelConfig, rngs: nnx.Rngs, *, width: int, depths: tuple[int, int, int, int]) -> Backbone:
    width = config.width or width
    return convnext.ConvNeXt(
        widths=(width, 2 * width, 4 * width, 8 * width),
        depths=_depths(config, depths),
        image_size=config.image_size,
        drop_path=config.drop_path,
        dtype=jnp.dtype(config.dtype),
        remat=config.remat,
        rngs=rngs,
    )


def _resnet(config: ModelConfig, rngs: nnx.Rngs, *, depths: tuple[int, int, int, int], bottleneck: bool) -> Backbone:
    return resnet.ResNet(
        width=config.width or 64,
        depths=_depths(config, depths),
        bottleneck=bottleneck,
        image_size=config.image_size,
        dtype=jnp.dtype(config.dtype),
        rngs=rngs,
    )


def _vgg(config: ModelConfig, rngs: nnx.Rngs) -> Backbone:
    return vgg.VGG16(width=config.width or 64, image_size=config.image_size, dtype=jnp.dtype(config.dtype), rngs=rngs)


def _inception(config: ModelConfig, rngs: nnx.Rngs) -> Backbone:
    return inception.InceptionV3(image_size=config.image_size, dtype=jnp.dtype(config.dtype), rngs=rngs)


def _depths(config: ModelConfig, depths: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return (config.depth,) * 4 if config.depth else depths


class Preset(NamedTuple):
    """A backbone by name.

    Attributes:
        build: configuration, source of keys -> backbone.
        weights: the pretrained weights that are usual for it, timm/NAME.TAG.
        adjustable: fields of ModelConfig that this architecture has; elsewhere they must keep their defaults.
        heads: attention heads of the first stage, 0 where there are none.
        width: channels of the first stage.
        least: smallest image size, pixels; 0: the patch size rules.
        multiple: the image size must be a multiple of it.
        pooling: its own.
        batch_norms: whether it has them.

    Example:
        >>> preset = BACKBONES["vit_base"]
        >>> preset.width, preset.heads, preset.weights
        (768, 12, 'timm/vit_base_patch16_224.augreg_in21k_ft_in1k')
    """

    build: Callable[[ModelConfig, nnx.Rngs], Backbone]
    weights: str
    adjustable: tuple[str, ...]
    pooling: str
    width: int
    heads: int = 0
    least: int = 0
    multiple: int = 1
    batch_norms: bool = False


def _vit_preset(name: str) -> Preset:
    width, depth, heads = vit.PRESETS[name]
    return Preset(
        partial(_vit, width=width, depth=depth, heads=heads),
        f"timm/{name}_patch16_224.augreg_in21k_ft_in1k",
        ("width", "depth", "heads", "patch_size", "stem", "attention", "remat"),
        "cls",
        width,
        heads,
    )


def _swin_preset(tag: str, width: int, depths: tuple[int, int, int, int], heads: int) -> Preset:
    return Preset(
        partial(_swin, width=width, depths=depths, heads=heads),
        f"timm/{tag}",
        ("width", "depth", "heads", "drop_path", "remat"),
        "mean",
        width,
        heads,
        swin.LEAST,
        swin.MULTIPLE,
    )


def _convnext_preset(tag: str, width: int, depths: tuple[int, int, int, int]) -> Preset:
    fields = ("width", "depth", "drop_path", "remat")
    build = partial(_convnext, width=width, depths=depths)
    return Preset(build, f"timm/{tag}", fields, "mean", width, least=convnext.LEAST)


def _resnet_preset(tag: str, depths: tuple[int, int, int, int], bottleneck: bool) -> Preset:
    build = partial(_resnet, depths=depths, bottleneck=bottleneck)
    return Preset(build, f"timm/{tag}", ("width", "depth"), "max", 64, least=resnet.LEAST, batch_norms=True)


# The tags were trained by the architectures' authors or torchvision. Sizes: Liu et al. 2021 and 2022, He et al. 2016.
BACKBONES: dict[str, Preset] = {
    **{name: _vit_preset(name) for name in vit.PRESETS},
    "swin_tiny": _swin_preset("swin_tiny_patch4_window7_224.ms_in22k_ft_in1k", 96, (2, 2, 6, 2), 3),
    "swin_small": _swin_preset("swin_small_patch4_window7_224.ms_in22k_ft_in1k", 96, (2, 2, 18, 2), 3),
    "swin_base": _swin_preset("swin_base_patch4_window7_224.ms_in22k_ft_in1k", 128, (2, 2, 18, 2), 4),
    "convnext_tiny": _convnext_preset("convnext_tiny.fb_in22k_ft_in1k", 96, (3, 3, 9, 3)),
    "convnext_small": _convnext_preset("convnext_small.fb_in22k_ft_in1k", 96, (3, 3, 27, 3)),
    "convnext_base": _convnext_preset("convnext_base.fb_in22k_ft_in1k", 128, (3, 3, 27, 3)),
    "vgg16": Preset(_vgg, "timm/vgg16.tv_in1k", ("width",), "max", 64, least=vgg.LEAST),
    "resnet18": _resnet_preset("resnet18.tv_in1k", (2, 2, 2, 2), False),
    "resnet50": _resnet_preset("resnet50.tv_in1k", (3, 4, 6, 3), True),
    "inception_v3": Preset(
        _inception, "timm/inception_v3.tv_in1k", (), "max", 32, least=inception.LEAST, batch_norms=True
    ),
}
