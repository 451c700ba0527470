"""Names of ViT tensors in timm, in Hugging Face's transformers and in Google's AugReg files."""

from effnet_jax.weights.names.targets import Table, Target, linear, norm, timm_block


def timm_vit(depth: int, *, stem: int = 0) -> Table:
    """Map the tensors of timm's `vit_*` to the parameters of our ViT.

    Args:
        depth: blocks.
        stem: convolutions of our convolutional stem, which timm does not have: names beside timm's; 0: a linear one.
    """
    table = {
        "cls_token": Target(("cls_token",)),
        "pos_embed": Target(("pos_embed",), "positions"),
        **norm("norm", ("norm",)),
    }
    table |= {} if stem else linear("patch_embed.proj", ("patch_embed",), "patches")
    for i in range(stem):
        table |= linear(f"stem.{i}.conv", ("patch_embed", "convolutions", i), "conv", bias=False)
        table |= norm(f"stem.{i}.norm", ("patch_embed", "norms", i))
    for i in range(depth):
        table |= timm_block(f"blocks.{i}", ("blocks", i))
    return table


def huggingface_vit(depth: int) -> Table:
    """Map the tensors of transformers' ViTModel (without the `vit.` that other classes put before them)."""
    table = {
        "embeddings.cls_token": Target(("cls_token",)),
        "embeddings.position_embeddings": Target(("pos_embed",), "positions"),
        **linear("embeddings.patch_embeddings.projection", ("patch_embed",), "patches"),
        **norm("layernorm", ("norm",)),
    }
    for i in range(depth):
        layer, block = f"encoder.layer.{i}", ("blocks", i)
        table |= norm(f"{layer}.layernorm_before", (*block, "norm1"))
        table |= norm(f"{layer}.layernorm_after", (*block, "norm2"))
        for part, name in enumerate(("query", "key", "value")):
            fused = linear(f"{layer}.attention.attention.{name}", (*block, "attn", "qkv"))
            table |= {key: target._replace(part=part) for key, target in fused.items()}
        table |= linear(f"{layer}.attention.output.dense", (*block, "attn", "proj"))
        table |= linear(f"{layer}.intermediate.dense", (*block, "mlp", "fc1"))
        table |= linear(f"{layer}.output.dense", (*block, "mlp", "fc2"))
    return table


def augreg_vit(depth: int) -> Table:
    """Map the arrays of the ViT files that Google published with "How to train your ViT?"; flax layouts."""
    table = {
        "cls": Target(("cls_token",)),
        "Transformer/posembed_input/pos_embedding": Target(("pos_embed",), "positions"),
        "embedding/kernel": Target(("patch_embed", "kernel"), "rows"),
        "embedding/bias": Target(("patch_embed", "bias")),
        **_flax("Transformer/encoder_norm", ("norm",), "scale"),
    }
    for i in range(depth):
        layer, block = f"Transformer/encoderblock_{i}", ("blocks", i)
        attention = f"{layer}/MultiHeadDotProductAttention_1"
        table |= _flax(f"{layer}/LayerNorm_0", (*block, "norm1"), "scale")
        table |= _flax(f"{layer}/LayerNorm_2", (*block, "norm2"), "scale")
        for part, name in enumerate(("query", "key", "value")):
            path = (*block, "attn", "qkv")
            table[f"{attention}/{name}/kernel"] = Target((*path, "kernel"), "columns", part)
            table[f"{attention}/{name}/bias"] = Target((*path, "bias"), "flat", part)
        table[f"{attention}/out/kernel"] = Target((*block, "attn", "proj", "kernel"), "rows")
        table[f"{attention}/out/bias"] = Target((*block, "attn", "proj", "bias"))
        table |= _flax(f"{layer}/MlpBlock_3/Dense_0", (*block, "mlp", "fc1"), "kernel")
        table |= _flax(f"{layer}/MlpBlock_3/Dense_1", (*block, "mlp", "fc2"), "kernel")
    return table


def _flax(name: str, path: tuple[str | int, ...], weight: str) -> Table:
    return {f"{name}/{weight}": Target((*path, weight)), f"{name}/bias": Target((*path, "bias"))}
