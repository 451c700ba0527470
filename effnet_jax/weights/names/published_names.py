"""Tables from the tensor names of EffNet's published token modules to ours."""

from effnet_jax.weights.names.targets import Target

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


def effnet_trsm(prefix: str = "trsm.") -> dict[str, Target]:
    """Map the tensors of the published stage 2, token module (behind `prefix`) and heads, to our TRSM."""
    table = {}
    for names, before in ((_LAYERS, prefix), (_HEADS, "")):
        for name, path in names.items():
            table[f"{before}{name}.weight"] = Target((*path, "kernel"), "linear")
            table[f"{before}{name}.bias"] = Target((*path, "bias"), "same")
    return table


def effnet_mstr(prefix: str = "recycle_model.", scales: int = 3, layers: int = 2) -> dict[str, Target]:
    """Map the tensors of the published MSTR to ours. Published files lack its transformers, which were never saved."""
    inside = {
        "self_attn.in_proj_weight": (("qkv", "kernel"), "linear"),
        "self_attn.in_proj_bias": (("qkv", "bias"), "same"),
        "self_attn.out_proj.weight": (("proj", "kernel"), "linear"),
        "self_attn.out_proj.bias": (("proj", "bias"), "same"),
        "norm1.weight": (("norm1", "scale"), "same"),
        "norm1.bias": (("norm1", "bias"), "same"),
        "norm2.weight": (("norm2", "scale"), "same"),
        "norm2.bias": (("norm2", "bias"), "same"),
        "linear1.weight": (("fc1", "kernel"), "linear"),
        "linear1.bias": (("fc1", "bias"), "same"),
        "linear2.weight": (("fc2", "kernel"), "linear"),
        "linear2.bias": (("fc2", "bias"), "same"),
    }
    table = {
        f"{prefix}transformer_models.{i}.layers.{k}.{name}": Target(("transformers", i, k, *path), layout)
        for i in range(scales)
        for k in range(layers)
        for name, (path, layout) in inside.items()
    }
    mix = {"fc.weight": (("mix", "kernel"), "linear"), "fc.bias": (("mix", "bias"), "same")}
    return table | {f"{prefix}{name}": Target(*target) for name, target in mix.items()}
