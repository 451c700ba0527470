"""Backbones by name: the published sizes, and what of them a configuration may change."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from flax import nnx

from effnet_jax.config import ModelConfig
from effnet_jax.models import convnext, inception, resnet, swin, vgg, vit
from effnet_jax.models.attention import choose_attention
from effnet_jax.models.backbone import Backbone

HAS_BATCH_NORMS = "has batch norms, whose statistics are those of the whole batch"  # so it cannot be encoded in parts
Family = Literal["vit", "swin", "convnext", "vgg", "resnet", "inception"]


class Preset(NamedTuple):
    """A backbone by name.

    Attributes:
        family: its architecture, of which the presets differ in size.
        build: configuration, the preset with the sizes that the configuration wants, what all take -> backbone.
        adjustable: fields of ModelConfig that this architecture has; elsewhere they must keep their defaults.
        pooling: its own.
        weights: the pretrained weights that are usual for it, timm/NAME.TAG.
        width: channels of the tokens (ViT) or of the first stage.
        depths: blocks (ViT), or blocks of each stage; empty where the architecture fixes them.
        heads: attention heads, of the first stage where there are several; 0 where there are none.
        least: smallest image size, pixels; 0: the patch size rules.
        multiple: the image size must be a multiple of it.
        batch_norms: whether it has them.
        bottleneck: whether a block of a ResNet has three convolutions, not two.

    Example:
        >>> preset = BACKBONES["vit_base"]
        >>> preset.width, preset.heads, preset.weights
        (768, 12, 'timm/vit_base_patch16_224.augreg_in21k_ft_in1k')
    """

    family: Family
    build: Callable[..., Backbone]
    adjustable: tuple[str, ...]
    pooling: str
    weights: str = ""
    width: int = 0
    depths: tuple[int, ...] = ()
    heads: int = 0
    least: int = 0
    multiple: int = 1
    batch_norms: bool = False
    bottleneck: bool = False


def preset_of(config: ModelConfig) -> Preset:
    """Give the preset that a configuration names, with the sizes that it asks for in place of the published ones.

    Example:
        >>> preset_of(ModelConfig(backbone="swin_tiny", depth=1)).depths
        (1, 1, 1, 1)
    """
    preset = BACKBONES[config.backbone]
    return preset._replace(
        width=config.width or preset.width,
        depths=(config.depth,) * len(preset.depths) if config.depth else preset.depths,
        heads=config.heads or preset.heads,
    )


def build_backbone(config: ModelConfig, *, rngs: nnx.Rngs) -> Backbone:
    """Build the backbone of a configuration.

    Example:
        >>> config = ModelConfig(backbone="resnet18", width=4, depth=1, image_size=32)
        >>> build_backbone(config, rngs=nnx.Rngs(0)).width
        32
    """
    preset = preset_of(config)
    return preset.build(config, preset, image_size=config.image_size, dtype=jnp.dtype(config.dtype), rngs=rngs)


def _vit(config: ModelConfig, preset: Preset, **common: Any) -> Backbone:
    return vit.ViT(
        width=preset.width,
        depth=preset.depths[0],
        heads=preset.heads,
        patch_size=config.patch_size,
        stem=config.stem,
        attention=config.attention,
        remat=config.remat,
        **common,
    )


def _swin(config: ModelConfig, preset: Preset, **common: Any) -> Backbone:
    sizes: dict[str, Any] = {"width": preset.width, "depths": preset.depths, "heads": preset.heads}
    return swin.Swin(**sizes, drop_path=config.drop_path, remat=config.remat, **common)


def _convnext(config: ModelConfig, preset: Preset, **common: Any) -> Backbone:
    sizes: dict[str, Any] = {"widths": tuple(preset.width * n for n in (1, 2, 4, 8)), "depths": preset.depths}
    return convnext.ConvNeXt(**sizes, drop_path=config.drop_path, remat=config.remat, **common)


def _vgg(config: ModelConfig, preset: Preset, **common: Any) -> Backbone:
    return vgg.VGG16(width=preset.width, **common)


def _resnet(config: ModelConfig, preset: Preset, **common: Any) -> Backbone:
    sizes: dict[str, Any] = {"width": preset.width, "depths": preset.depths, "bottleneck": preset.bottleneck}
    return resnet.ResNet(**sizes, **common)


def _inception(config: ModelConfig, preset: Preset, **common: Any) -> Backbone:
    return inception.InceptionV3(**common)


_VIT = Preset("vit", _vit, ("width", "depth", "heads", "patch_size", "stem", "attention", "remat"), "cls")
_SWIN = Preset(
    "swin", _swin, ("width", "depth", "heads", "drop_path", "remat"), "mean", least=swin.LEAST, multiple=swin.MULTIPLE
)
_CONVNEXT = Preset("convnext", _convnext, ("width", "depth", "drop_path", "remat"), "mean", least=convnext.LEAST)
_VGG = Preset("vgg", _vgg, ("width",), "max", least=vgg.LEAST)
_RESNET = Preset("resnet", _resnet, ("width", "depth"), "max", least=resnet.LEAST, batch_norms=True)
_INCEPTION = Preset("inception", _inception, (), "max", least=inception.LEAST, batch_norms=True)


def _sized(family: Preset, tag: str, width: int, depths: tuple[int, ...] = (), heads: int = 0) -> Preset:
    return family._replace(weights=f"timm/{tag}", width=width, depths=depths, heads=heads)


# The tags were trained by the architectures' authors or torchvision. Sizes: Touvron et al. 2021 (ViT-Ti and -S),
# Dosovitskiy et al. 2021 (ViT-B and -L), Liu et al. 2021 and 2022, Simonyan et al. 2015, He et al. 2016.
BACKBONES: dict[str, Preset] = {
    "vit_tiny": _sized(_VIT, "vit_tiny_patch16_224.augreg_in21k_ft_in1k", 192, (12,), 3),
    "vit_small": _sized(_VIT, "vit_small_patch16_224.augreg_in21k_ft_in1k", 384, (12,), 6),
    "vit_base": _sized(_VIT, "vit_base_patch16_224.augreg_in21k_ft_in1k", 768, (12,), 12),
    "vit_large": _sized(_VIT, "vit_large_patch16_224.augreg_in21k_ft_in1k", 1024, (24,), 16),
    "swin_tiny": _sized(_SWIN, "swin_tiny_patch4_window7_224.ms_in22k_ft_in1k", 96, (2, 2, 6, 2), 3),
    "swin_small": _sized(_SWIN, "swin_small_patch4_window7_224.ms_in22k_ft_in1k", 96, (2, 2, 18, 2), 3),
    "swin_base": _sized(_SWIN, "swin_base_patch4_window7_224.ms_in22k_ft_in1k", 128, (2, 2, 18, 2), 4),
    "convnext_tiny": _sized(_CONVNEXT, "convnext_tiny.fb_in22k_ft_in1k", 96, (3, 3, 9, 3)),
    "convnext_small": _sized(_CONVNEXT, "convnext_small.fb_in22k_ft_in1k", 96, (3, 3, 27, 3)),
    "convnext_base": _sized(_CONVNEXT, "convnext_base.fb_in22k_ft_in1k", 128, (3, 3, 27, 3)),
    "vgg16": _sized(_VGG, "vgg16.tv_in1k", 64),
    "resnet18": _sized(_RESNET, "resnet18.tv_in1k", 64, (2, 2, 2, 2)),
    "resnet50": _sized(_RESNET, "resnet50.tv_in1k", 64, (3, 4, 6, 3))._replace(bottleneck=True),
    "inception_v3": _sized(_INCEPTION, "inception_v3.tv_in1k", 32),
}


def describe_attention(config: ModelConfig) -> str:
    """Say which attention a ViT takes, and why; "" for other backbones.

    Example:
        >>> describe_attention(ModelConfig(attention="xla"))
        'attention: xla (as configured)'
    """
    preset = preset_of(config)
    if preset.family != "vit":
        return ""
    tokens = 1 + (config.image_size // config.patch_size) ** 2
    name, why = choose_attention(config.attention, config.dtype, tokens, preset.heads, preset.width // preset.heads)
    return f"attention: {name} ({why})"
