"""Recognise whose tensors a file holds, and of which architecture, by their names and shapes."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from effnet_jax.weights.errors import WeightsError, some
from effnet_jax.weights.names.cnn_names import torchvision_inception, torchvision_resnet, torchvision_vgg16
from effnet_jax.weights.names.swin_names import timm_convnext, timm_swin
from effnet_jax.weights.names.targets import Table
from effnet_jax.weights.names.vit_names import augreg_vit, huggingface_vit, timm_conv_stem, timm_vit

Depths = tuple[int, ...]
HALF, IMAGENET = ((0.5,) * 3, (0.5,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HEADS = ("mlp_head.0", "output_layer", "linear_out.0")  # of the authors' encoders: the embedding


class Naming(NamedTuple):
    """How one library names the tensors of one architecture.

    Attributes:
        source: whose names they are.
        family: vit, swin, convnext, vgg, resnet or inception.
        mark: a tensor that only this architecture has; what stands before it is a prefix.
        table: names and blocks a stage -> table.
        blocks: pattern whose groups are the numbers of a stage (where there are stages) and of a block.
        ignored: pattern of names that are not needed: classifiers, counters and buffers.
        classifier: name of the classifier; our own files keep the embedding head there.
        scaling: mean and std that the usual weights were trained with.
        image_size: their image size, pixels; 0: follows from the position embeddings.
        resample: filter of their resize.
    """

    source: str
    family: str
    mark: str
    table: Callable[[Iterable[str], Depths], Table]
    blocks: str
    ignored: str
    classifier: str
    scaling: tuple[tuple[float, ...], tuple[float, ...]]
    image_size: int
    resample: str = "bicubic"


def _timm_vit(names: Iterable[str], depths: Depths) -> Table:
    stem = len({name for name in names if re.fullmatch(r"stem\.\d+\.conv\.weight", name)})
    table = timm_vit(depths[0])
    if stem:
        table = {name: target for name, target in table.items() if not name.startswith("patch_embed.")}
        table |= timm_conv_stem(stem)
    return table


def _timm_swin(names: Iterable[str], depths: Depths) -> Table:
    return timm_swin(depths, old="layers.0.downsample.norm.weight" in names)


def _resnet(names: Iterable[str], depths: Depths) -> Table:
    return torchvision_resnet(depths, bottleneck="layer1.0.conv3.weight" in names)


def _authors_vgg16(names: Iterable[str], depths: Depths) -> Table:
    return {f"backbone.{name.removeprefix('features.')}": target for name, target in torchvision_vgg16().items()}


_COUNTERS = r".*\.num_batches_tracked"
NAMINGS = (
    Naming("timm", "vit", "blocks.0.attn.qkv.weight", _timm_vit, r"blocks\.(\d+)\.",
           r"head(_dist)?\.(weight|bias)", "head", HALF, 0),
    Naming("Hugging Face", "vit", "encoder.layer.0.attention.attention.query.weight",
           lambda names, depths: huggingface_vit(depths[0]), r"encoder\.layer\.(\d+)\.",
           r"(pooler\.dense|classifier)\.(weight|bias)", "classifier", HALF, 0, "bilinear"),
    Naming("AugReg (Google)", "vit", "Transformer/encoderblock_0/LayerNorm_0/scale",
           lambda names, depths: augreg_vit(depths[0]), r"Transformer/encoderblock_(\d+)/",
           r"(head|pre_logits)/(kernel|bias)", "head", HALF, 0),
    Naming("timm", "swin", "layers.0.blocks.0.attn.relative_position_bias_table", _timm_swin,
           r"layers\.(\d+)\.blocks\.(\d+)\.", r"head\.(fc\.)?(weight|bias)|.*\.(relative_position_index|attn_mask)",
           "head.fc", IMAGENET, 224),
    Naming("timm", "convnext", "stages.0.blocks.0.conv_dw.weight", lambda names, depths: timm_convnext(depths),
           r"stages\.(\d+)\.blocks\.(\d+)\.", r"head\.fc\.(weight|bias)", "head.fc", IMAGENET, 224),
    Naming("torchvision, timm", "vgg", "features.28.weight", lambda names, depths: torchvision_vgg16(), "",
           r"(classifier|pre_logits|head)\..*", "head.fc", IMAGENET, 224, "bilinear"),
    Naming("EffNet's authors", "vgg", "backbone.28.weight", _authors_vgg16, "", "(?!)", "", IMAGENET, 224, "bilinear"),
    Naming("torchvision, timm", "resnet", "layer1.0.conv1.weight", _resnet, r"layer(\d+)\.(\d+)\.",
           rf"fc\.(weight|bias)|{_COUNTERS}", "fc", IMAGENET, 224, "bilinear"),
    Naming("torchvision, timm", "inception", "Mixed_5b.branch1x1.conv.weight",
           lambda names, depths: torchvision_inception(), "", rf"fc\.(weight|bias)|AuxLogits\..*|{_COUNTERS}",
           "fc", HALF, 299),
)  # fmt: skip


class Recognised(NamedTuple):
    """One backbone in a file.

    Attributes:
        naming: whose names.
        tensors: of the backbone, without the prefix that the file puts before them, and of the head.
        head: name of the embedding head, a linear layer among the tensors; None where there is none.
        depths: blocks, or blocks of each stage.
        source: sentence about it.
    """

    naming: Naming
    tensors: dict[str, np.ndarray]
    head: str | None
    depths: Depths
    source: str

    def table(self, depths: Sequence[int] | None = None) -> Table:
        """Give the table for these blocks a stage; None: as many as the file has."""
        return self.naming.table(self.tensors.keys(), tuple(depths) if depths else self.depths)

    def ignored(self, name: str) -> bool:
        """Tell whether a backbone does not need a tensor."""
        return (
            name in (f"{self.head}.weight", f"{self.head}.bias") or re.fullmatch(self.naming.ignored, name) is not None
        )


def recognise(tensors: Mapping[str, np.ndarray], where: str, *, own_head: bool = False) -> Recognised:
    """Find out whose tensors these are.

    Args:
        tensors: by name, of one model.
        where: file, for messages.
        own_head: the classifier of these tensors is our embedding head, as the file says.

    Raises:
        WeightsError: no architecture that we know.
    """
    several: dict[str, list[str]] = {}  # backbones that are there more than once
    for naming in NAMINGS:
        prefixes = [name.removesuffix(naming.mark) for name in tensors if name.endswith(naming.mark)]
        prefixes = [p for p in prefixes if not p or p.endswith(".")]
        if len(prefixes) > 1:
            several[naming.family] = prefixes
        if len(prefixes) != 1:
            continue
        prefix = prefixes[0]
        outer = prefix.removesuffix("encoder.").removesuffix("features.").removesuffix("backbone.")
        inner = {name.removeprefix(prefix): x for name, x in tensors.items()}
        heads = [(outer + name).removeprefix(prefix) for name in HEADS]
        head = next((name for name in heads if f"{name}.weight" in inner or f"{name}.bias" in inner), None)
        if own_head and head is None:
            head = naming.classifier
        depths = _depths(inner, naming.blocks)
        return Recognised(naming, inner, head, depths, f"{naming.source}'s names of a {naming.family} backbone")
    if several:
        family, prefixes = min(several.items(), key=lambda item: len(item[1]))
        raise WeightsError(
            f"{where} holds {len(prefixes)} {family} backbones, whose names begin with {some(prefixes)}; "
            "save the tensors of one of them alone."
        )
    known = "; ".join(f"{n.source}: {n.family} (has {n.mark})" for n in NAMINGS)
    raise WeightsError(
        f"{where} holds tensors of no architecture that is known here ({len(tensors)} names: "
        f"{some(sorted(tensors), 6)}). Known are {known}"
    )


def _depths(names: Iterable[str], pattern: str) -> Depths:
    """Count the blocks, or the blocks of each stage; numbers are only compared, a file may claim any."""
    blocks: dict[str, set[str]] = {}
    for name in names if pattern else ():
        if found := re.match(pattern, name):
            *stage, block = found.groups()
            blocks.setdefault(stage[0] if stage else "", set()).add(block)
    return tuple(len(blocks[stage]) for stage in sorted(blocks))
