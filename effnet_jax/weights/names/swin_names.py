"""Names of Swin and ConvNeXt tensors in timm."""

from collections.abc import Sequence

from effnet_jax.weights.names.targets import Table, Target, linear, norm, timm_block


def timm_swin(depths: Sequence[int], *, old: bool = False) -> Table:
    """Map the tensors of timm's `swin_*` with these blocks per stage to the parameters of our Swin.

    Args:
        depths: blocks of each stage.
        old: names of timm before 0.9 and of the authors' files, where a merge belongs to the stage before it.
    """
    table = {
        **linear("patch_embed.proj", ("patch_embed",), "patches"),
        **norm("patch_embed.norm", ("patch_norm",)),
        **norm("norm", ("norm",)),
    }
    for s, depth in enumerate(depths):
        for i in range(depth):
            name, path = f"layers.{s}.blocks.{i}", ("stages", s, i)
            table |= timm_block(name, path)
            table[f"{name}.attn.relative_position_bias_table"] = Target((*path, "attn", "relative_position_bias"))
        if s:
            name = f"layers.{s - 1 if old else s}.downsample"
            table |= norm(f"{name}.norm", ("merges", s - 1, "norm"))
            table |= linear(f"{name}.reduction", ("merges", s - 1, "reduction"), bias=False)
    return table


def timm_convnext(depths: Sequence[int]) -> Table:
    """Map the tensors of timm's `convnext_*` with these blocks per stage to the parameters of our ConvNeXt."""
    table = {
        **linear("stem.0", ("stem",), "patches"),
        **norm("stem.1", ("stem_norm",)),
        **norm("head.norm", ("norm",)),
    }
    for s, depth in enumerate(depths):
        if s:
            table |= norm(f"stages.{s}.downsample.0", ("downsamples", s - 1, "norm"))
            table |= linear(f"stages.{s}.downsample.1", ("downsamples", s - 1, "conv"), "pairs")
        for i in range(depth):
            name, path = f"stages.{s}.blocks.{i}", ("stages", s, i)
            table[f"{name}.gamma"] = Target((*path, "gamma"))
            table |= linear(f"{name}.conv_dw", path, "depthwise") | norm(f"{name}.norm", (*path, "norm"))
            for layer in ("fc1", "fc2"):
                table |= linear(f"{name}.mlp.{layer}", (*path, "mlp", layer))
    return table
