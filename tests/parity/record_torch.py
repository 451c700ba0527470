"""Record what torchvision's and timm's backbones compute. usage: record_torch.py [OUTPUT_FOLDER]

Needs torch, torchvision and timm (the numbers in goldens/ come from torch 2.13.0, torchvision 0.28.0, timm 1.0.31, on
CPU). Weights and images are regenerated from their names by recipe.py, so the files hold outputs only: the pooled
feature, and of sum(feature * cotangent) the gradient of the image and the L2 norms of some weights' gradients. The
float64 entries are the same networks in double precision: in training mode, the variance of a channel over a handful
of cells magnifies the rounding of a float32 run to 1e-3, which hides whether two implementations agree.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from recipe import fill, hash_uniform, image

library = torch.library.Library("torchvision", "DEF")  # lets torchvision import beside a CPU build of torch
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import timm  # noqa: E402
import torchvision  # noqa: E402

SWIN = {"img_size": 128, "window_size": 3, "embed_dim": 12, "depths": (2, 2, 2, 2), "num_heads": (3, 6, 12, 24)}
CONVNEXT = {"dims": (8, 16, 32, 64), "depths": (1, 1, 2, 1)}
FEATURES = {  # golden: library, name, image size, arguments, pooling, training mode too
    "torch_swin_tiny_224": ("timm", "swin_tiny_patch4_window7_224", 224, {}, "mean"),
    "torch_swin_tiny_256": ("timm", "swin_tiny_patch4_window7_224", 256, {"img_size": 256, "window_size": 7}, "mean"),
    "torch_swin_small_224": ("timm", "swin_small_patch4_window7_224", 224, {}, "mean"),
    "torch_convnext_tiny_96": ("timm", "convnext_tiny", 96, {}, "mean"),
    "torch_convnext_tiny_101": ("timm", "convnext_tiny", 101, {}, "mean"),
    "torch_convnext_small_64": ("timm", "convnext_small", 64, {}, "mean"),
    "torch_convnext_base_64": ("timm", "convnext_base", 64, {}, "mean"),
    "torch_resnet18_96": ("torchvision", "resnet18", 96, {}, "max"),
    "torch_swin_narrow_128": ("timm", "swin_tiny_patch4_window7_224", 128, SWIN, "mean"),
    "torch_convnext_narrow_70": ("timm", "convnext_tiny", 70, CONVNEXT, "mean"),
    "torch_resnet50_65": ("torchvision", "resnet50", 65, {}, "max"),
}
BATCH_NORMED = {"torch_resnet18_train": ("resnet18", 96), "torch_resnet50_train": ("resnet50", 96),
                "torch_inception_v3_train": ("inception_v3", 112)}  # fmt: skip
GAIN = {"swin": 1.0, "convnext": 1.0, "resnet18": 1.0, "resnet50": 1.0, "inception_v3": 2.0}


def make(library: str, name: str, pooling: str, **arguments) -> torch.nn.Module:
    if library == "timm":
        return timm.create_model(name, pretrained=False, num_classes=0, global_pool="avg", **arguments)
    if name == "inception_v3":
        arguments |= {"aux_logits": False, "transform_input": False, "init_weights": False}
    network = getattr(torchvision.models, name)(weights=None, **arguments)
    network.fc = torch.nn.Identity()
    network.dropout = torch.nn.Identity()
    network.avgpool = torch.nn.AdaptiveMaxPool2d(1) if pooling == "max" else network.avgpool
    return network


def regenerate(network: torch.nn.Module, gain: float) -> list:
    shapes = [[n, list(x.shape)] for n, x in network.state_dict().items() if not n.endswith("num_batches_tracked")]
    tensors = {n: torch.from_numpy(fill(n, tuple(shape), gain)) for n, shape in shapes}
    missing = network.load_state_dict(tensors, strict=False).missing_keys
    assert all(n.endswith("num_batches_tracked") for n in missing), missing
    return shapes


def about(name: str, shapes: list, gain: float, input_shape: tuple) -> np.ndarray:
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__}
    meta = {"name": name, "tensors": shapes, "gain": gain, "salt": "", "input_name": f"input:{name}"}
    return np.array(json.dumps({**meta, "input_shape": input_shape, "versions": versions}))


def record_features(golden: str) -> dict[str, np.ndarray]:
    library, name, size, arguments, pooling = FEATURES[golden]
    network = make(library, name, pooling, **arguments).eval()
    gain = GAIN[name.split("_")[0]]
    shapes, shape = regenerate(network, gain), (2, 3, size, size)
    images = torch.from_numpy(image(f"input:{name}", shape)).requires_grad_()
    feature = network(images)
    cotangent = hash_uniform("cotangent", tuple(feature.shape)).astype(np.float32)
    (feature * torch.from_numpy(cotangent)).sum().backward()
    kept = [n for n, _ in shapes if n.endswith(("qkv.weight", "table", "conv_dw.weight", "gamma", "conv1.weight"))]
    norms = {n: float(dict(network.named_parameters())[n].grad.double().norm()) for n in kept}
    gradient = images.grad.numpy()
    return {
        "meta": about(name, shapes, gain, shape),
        "feature": feature.detach().numpy(),
        "gradient_of_image/corner": gradient[:, :, :8, :8],
        "gradient_of_image/l2": np.float64(np.linalg.norm(gradient.astype(np.float64))),
        "gradient_norms": np.array(json.dumps(norms)),
    }


def record_training(golden: str) -> dict[str, np.ndarray]:
    name, size = BATCH_NORMED[golden]
    network = make("torchvision", name, "max")
    shapes, shape = regenerate(network, GAIN[name]), (2, 3, size, size)
    network = network.double().train()
    with torch.no_grad():
        feature = network(torch.from_numpy(image(f"input:{name}", shape)).double())
    after = {n: x.numpy() for n, x in network.state_dict().items() if n.endswith(("running_mean", "running_var"))}
    last = sorted(after)[-1]
    return {
        "meta": about(name, shapes, GAIN[name], shape),
        "f64/feature": feature.numpy(),
        f"f64/after/{last}": after[last],
        "f64/after_l2": np.array(json.dumps({n: float(np.linalg.norm(x)) for n, x in after.items()})),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) == 2 else Path(__file__).parent / "goldens"
    for golden in (*FEATURES, *BATCH_NORMED):
        arrays = (record_features if golden in FEATURES else record_training)(golden)
        np.savez_compressed(folder / f"{golden}.npz", allow_pickle=False, **arrays)
        print(golden, (folder / f"{golden}.npz").stat().st_size, "bytes", flush=True)
