"""Table from the tensor names of EffNet's published TRSM to ours."""

from effnet_jax.weights.names import Target

_LAYERS = {
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
_HEADS = {"img_mlp_head": ("photo_head",), "skt_mlp_head": ("sketch_head",)}
TRSM_UNUSED = "in_attn.feat2_attn."  # present in published files, never used by the published model


def effnet_trsm(prefix: str = "trsm.") -> dict[str, Target]:
    """Map the tensors of the published stage 2, token module (behind `prefix`) and heads, to our TRSM."""
    table = {}
    for names, before in ((_LAYERS, prefix), (_HEADS, "")):
        for name, path in names.items():
            table[f"{before}{name}.weight"] = Target((*path, "kernel"), "linear")
            table[f"{before}{name}.bias"] = Target((*path, "bias"), "same")
    return table
