"""Names of VGG16, ResNet and Inception-V3 tensors in torchvision, which timm shares."""

from collections.abc import Sequence

from effnet_jax.models.inception import BLOCKS, STEM
from effnet_jax.models.trees import Path
from effnet_jax.models.vgg import STAGES
from effnet_jax.weights.names.targets import Table, batch_norm, linear


def torchvision_vgg16(prefix: str = "features") -> Table:
    """Map the convolutions of `vgg16`, which the authors' encoder keeps below another name, to those of our VGG16."""
    table, position = {}, 0
    for s, stage in enumerate(STAGES):
        for i in range(len(stage)):
            table |= linear(f"{prefix}.{position}", ("stages", s, i), "conv")
            position += 2  # the ReLU counts
        position += 1  # and the maximum
    return table


def torchvision_resnet(depths: Sequence[int], *, bottleneck: bool) -> Table:
    """Map the tensors of `resnet18`, `resnet50` and their like to the parameters and statistics of our ResNet."""
    table = _conv_norm("conv1", "bn1", ("stem",))
    for s, depth in enumerate(depths):
        for i in range(depth):
            name, path = f"layer{s + 1}.{i}", ("stages", s, i)
            for j in range(3 if bottleneck else 2):
                table |= _conv_norm(f"{name}.conv{j + 1}", f"{name}.bn{j + 1}", (*path, "convolutions", j))
            if i == 0 and (s or bottleneck):
                table |= _conv_norm(f"{name}.downsample.0", f"{name}.downsample.1", (*path, "shortcut"))
    return table


def torchvision_inception() -> Table:
    """Map the tensors of `inception_v3` to the parameters and statistics of our InceptionV3."""
    table: Table = {}
    for unit in STEM:
        table |= _conv_norm(f"{unit.name}.conv", f"{unit.name}.bn", ("stem", unit.name))
    for block, branches in BLOCKS.items():
        for branch in branches:
            for unit in (*branch.units, *branch.forks):
                name = f"{block}.{unit.name}"
                table |= _conv_norm(f"{name}.conv", f"{name}.bn", ("blocks", block, "units", unit.name))
    return table


def _conv_norm(conv: str, norm: str, path: Path) -> Table:
    return linear(conv, (*path, "conv"), "conv", bias=False) | batch_norm(norm, (*path, "norm"))
