"""Tables from the tensor names of EffNet's published token modules to ours."""

from effnet_jax.weights.names.targets import Table, Target, linear, norm

TRSM_LAYERS = {
    "in_attn.feat1_attn.wq": ("intra", "query"),
    "in_attn.feat1_attn.wk": ("intra", "key"),
    "in_attn.feat1_attn.wv": ("intra", "value"),
    "in_attn.feat1_attn.linear": ("intra", "out"),
    "inter_attn.wq": ("inter", "query"),
    "inter_attn.wk": ("inter", "key"),
    "inter_attn.wv1": ("inter", "photo_value"),
    "inter_attn.wv2": ("inter", "sketch_value"),
    "inter_attn.linear1": ("inter", "photo_out"),
    "inter_attn.linear2": ("inter", "sketch_out"),
    "proj1": ("photo_proj",),
    "proj2": ("sketch_proj",),
}
UNUSED_TRSM = "trsm.in_attn.feat2_attn."  # never called by the authors' code, which sends both streams through feat1


def effnet_trsm(prefix: str = "trsm.") -> Table:
    """Map the tensors of the published stage 2, token module (behind `prefix`) and heads, to our TRSM."""
    table = linear("img_mlp_head", ("photo_head",)) | linear("skt_mlp_head", ("sketch_head",))
    for name, path in TRSM_LAYERS.items():
        table |= linear(f"{prefix}{name}", path)
    return table


def effnet_mstr(prefix: str = "recycle_model.", *, transformers: bool = True) -> Table:
    """Map the tensors of the published MSTR to ours.

    Args:
        prefix: what stands before the names.
        transformers: with those of the transformers, which published files lack: they were never saved.
    """
    table = linear(f"{prefix}fc", ("mix",))
    for i, k in [(i, k) for i in range(3) for k in range(2)] if transformers else ():  # scale, layer
        name, path = f"{prefix}transformer_models.{i}.layers.{k}", ("transformers", i, k)
        table[f"{name}.self_attn.in_proj_weight"] = Target((*path, "qkv", "kernel"), "linear")
        table[f"{name}.self_attn.in_proj_bias"] = Target((*path, "qkv", "bias"))
        for theirs, ours in (("self_attn.out_proj", "proj"), ("linear1", "fc1"), ("linear2", "fc2")):
            table |= linear(f"{name}.{theirs}", (*path, ours))
        for both in ("norm1", "norm2"):
            table |= norm(f"{name}.{both}", (*path, both))
    return table
