"""Recognise whose tensors a file holds, and of which architecture, by their names and shapes."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from effnet_jax.models.presets import Family
from effnet_jax.weights.errors import WeightsError, some
from effnet_jax.weights.names.cnn_names import torchvision_inception, torchvision_resnet, torchvision_vgg16
from effnet_jax.weights.names.swin_names import timm_convnext, timm_swin
from effnet_jax.weights.names.targets import Table
from effnet_jax.weights.names.vit_names import augreg_vit, huggingface_vit, timm_vit

Kind = Literal["timm", "huggingface", "augreg", "authors"]  # whose names; those of torchvision are timm's too
Depths = tuple[int, ...]
HALF, IMAGENET = ((0.5,) * 3, (0.5,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
AUTHORS_HEADS = ("mlp_head.0", "output_layer", "linear_out.0")  # of the authors' encoders: the embedding
AUTHORS_RECYCLING = "recycle_model."


class Variant(NamedTuple):
    """What the names of tensors tell about an architecture besides its blocks.

    Attributes:
        stem: convolutions of a ViT's convolutional stem; 0: a linear one.
        early_merges: Swin of timm before 0.9 and of the authors, where a merge belongs to the stage before it.
        bottleneck: ResNet with three convolutions in a block.
    """

    stem: int = 0
    early_merges: bool = False
    bottleneck: bool = False


class Naming(NamedTuple):
    """How one library names the tensors of one architecture.

    Attributes:
        kind: whose names they are.
        source: the same in words.
        family: of which architecture.
        mark: a tensor that only this architecture has; what stands before it is a prefix.
        table: blocks a stage and variant -> table.
        blocks: pattern whose groups are the numbers of a stage (where there are stages) and of a block.
        ignored: pattern of names that are not needed: classifiers, counters and buffers.
        classifier: name of the classifier; our own files keep the embedding head there.
        scaling: mean and std that the usual weights were trained with.
        image_size: their image size, pixels; 0: follows from the position embeddings.
        resample: filter of their resize.
    """

    kind: Kind
    source: str
    family: Family
    mark: str
    table: Callable[[Depths, Variant], Table]
    blocks: str
    ignored: str
    classifier: str
    scaling: tuple[tuple[float, ...], tuple[float, ...]]
    image_size: int
    resample: str = "bicubic"


_COUNTERS = r".*\.num_batches_tracked"
NAMINGS = (
    Naming("timm", "timm", "vit", "blocks.0.attn.qkv.weight",
           lambda depths, variant: timm_vit(*depths, stem=variant.stem), r"blocks\.(\d+)\.",
           r"head(_dist)?\.(weight|bias)", "head", HALF, 0),
    Naming("huggingface", "Hugging Face", "vit", "encoder.layer.0.attention.attention.query.weight",
           lambda depths, variant: huggingface_vit(*depths), r"encoder\.layer\.(\d+)\.",
           r"(pooler\.dense|classifier)\.(weight|bias)", "classifier", HALF, 0, "bilinear"),
    Naming("augreg", "AugReg (Google)", "vit", "Transformer/encoderblock_0/LayerNorm_0/scale",
           lambda depths, variant: augreg_vit(*depths), r"Transformer/encoderblock_(\d+)/",
           r"(head|pre_logits)/(kernel|bias)", "head", HALF, 0),
    Naming("timm", "timm", "swin", "layers.0.blocks.0.attn.relative_position_bias_table",
           lambda depths, variant: timm_swin(depths, old=variant.early_merges), r"layers\.(\d+)\.blocks\.(\d+)\.",
           r"head\.(fc\.)?(weight|bias)|.*\.(relative_position_index|attn_mask)", "head.fc", IMAGENET, 224),
    Naming("timm", "timm", "convnext", "stages.0.blocks.0.conv_dw.weight",
           lambda depths, variant: timm_convnext(depths), r"stages\.(\d+)\.blocks\.(\d+)\.",
           r"head\.fc\.(weight|bias)", "head.fc", IMAGENET, 224),
    Naming("timm", "torchvision, timm", "vgg", "features.28.weight", lambda depths, variant: torchvision_vgg16(), "",
           r"(classifier|pre_logits|head)\..*", "head.fc", IMAGENET, 224, "bilinear"),
    Naming("authors", "EffNet's authors", "vgg", "backbone.28.weight",
           lambda depths, variant: torchvision_vgg16("backbone"), "", "(?!)", "", IMAGENET, 224, "bilinear"),
    Naming("timm", "torchvision, timm", "resnet", "layer1.0.conv1.weight",
           lambda depths, variant: torchvision_resnet(depths, bottleneck=variant.bottleneck), r"layer(\d+)\.(\d+)\.",
           rf"fc\.(weight|bias)|{_COUNTERS}", "fc", IMAGENET, 224, "bilinear"),
    Naming("timm", "torchvision, timm", "inception", "Mixed_5b.branch1x1.conv.weight",
           lambda depths, variant: torchvision_inception(), "", rf"fc\.(weight|bias)|AuxLogits\..*|{_COUNTERS}",
           "fc", HALF, 299),
)  # fmt: skip


class Recognised(NamedTuple):
    """One backbone in a file.

    Attributes:
        naming: whose names.
        tensors: of the backbone, without the prefix that the file puts before them, and of the head.
        head: name of the embedding head, a linear layer among the tensors; None where there is none.
        depths: blocks, or blocks of each stage.
        variant: what else the names tell.
        recycling: what stands before the tensors of the authors' MSTR; None where there are none.
        authors: an encoder of EffNet's authors, as its head or its naming shows.
    """

    naming: Naming
    tensors: dict[str, np.ndarray]
    head: str | None
    depths: Depths
    variant: Variant
    recycling: str | None
    authors: bool

    @property
    def source(self) -> str:
        """Say whose names these are, in words."""
        return f"{self.naming.source}'s names of a {self.naming.family} backbone"

    def table(self, depths: Sequence[int] | None = None) -> Table:
        """Give the table for these blocks per stage; None: as many as the file has."""
        return self.naming.table(tuple(depths) if depths else self.depths, self.variant)

    def rows(self, name: str) -> int:
        """Count the outputs of a linear layer of torch by its weight; 0 where there is none of this name."""
        weight = self.tensors.get(name)
        return int(weight.shape[0]) if weight is not None and weight.ndim == 2 and weight.size else 0

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
        heads = [(outer + name).removeprefix(prefix) for name in AUTHORS_HEADS]
        head = next((name for name in heads if f"{name}.weight" in inner or f"{name}.bias" in inner), None)
        authors = head is not None or naming.kind == "authors"
        recycling = (outer + AUTHORS_RECYCLING).removeprefix(prefix)
        return Recognised(
            naming,
            inner,
            naming.classifier if own_head and head is None else head,
            _depths(inner, naming.blocks),
            _variant(inner, naming.family),
            recycling if any(name.startswith(recycling) for name in inner) else None,
            authors,
        )
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


def _variant(names: Mapping[str, np.ndarray], family: Family) -> Variant:
    return Variant(
        stem=sum(re.fullmatch(r"stem\.\d+\.conv\.weight", name) is not None for name in names),
        early_merges="layers.0.downsample.norm.weight" in names,
        bottleneck=family == "resnet" and "layer1.0.conv3.weight" in names,
    )


def _depths(names: Iterable[str], pattern: str) -> Depths:
    """Count the blocks, or the blocks of each stage; numbers are only compared, a file may claim any."""
    blocks: dict[str, set[str]] = {}
    for name in names if pattern else ():
        if found := re.match(pattern, name):
            *stage, block = found.groups()
            blocks.setdefault(stage[0] if stage else "", set()).add(block)
    return tuple(len(blocks[stage]) for stage in sorted(blocks))
