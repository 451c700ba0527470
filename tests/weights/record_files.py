"""Write the small files of real PyTorch that the tests read. usage: record_files.py [OUTPUT_FOLDER]

Needs torch and timm (the files in files/ were written by torch 2.13.0 with timm 1.0.31). Every weight is a function of
its name (tests/parity/recipe.py), so a test knows what to find without torch. outputs.npz holds what timm computes.
"""

import argparse
import collections
import sys
from pathlib import Path

import numpy as np
import torch

library = torch.library.Library("torchvision", "DEF")  # lets timm import torchvision beside a CPU build of torch
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import timm  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))
from recipe import fill, image  # noqa: E402

VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}


def network(salt: str, classes: int = 0) -> torch.nn.Module:
    model = timm.create_model("vit_tiny_patch16_224", num_classes=classes, **VIT).eval()
    model.load_state_dict(
        {n: torch.from_numpy(fill(n, tuple(x.shape), 1.0, salt)) for n, x in model.state_dict().items()}
    )
    return model


def authors(salt: str, classes: int) -> collections.OrderedDict:
    """State dict of an encoder of EffNet's authors: timm's ViT, its unused classifier, and a head."""
    inner = network(salt, 5).state_dict()
    tensors = collections.OrderedDict((f"encoder.{name}", x) for name, x in inner.items())
    for name, shape in (("mlp_head.0.weight", (classes, 16)), ("mlp_head.0.bias", (classes,))):
        tensors[name] = torch.from_numpy(fill(name, shape, 1.0, salt))
    return tensors


class RunsCode:
    """Pickles as a call of os.system."""

    def __reduce__(self):
        import os

        return os.system, ("touch executed",)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model = network("")
    torch.save(model.state_dict(), folder / "vit.pth")
    torch.save(
        {"state_dict": {f"module.{n}": x for n, x in model.state_dict().items()}, "epoch": 7}, folder / "wrapped.pt"
    )
    torch.save({n: x.bfloat16() for n, x in model.state_dict().items()}, folder / "bfloat16.pth")
    torch.save({n: x.t() if x.ndim == 2 else x for n, x in model.state_dict().items()}, folder / "strided.pth")
    optimizer = torch.optim.Adam(model.parameters())
    for classes, name in ((8, "stage1.pth"), (12, "stage1_12.pth")):
        checkpoint = {"img_model": authors("photo:", classes), "skt_model": authors("sketch:", classes), "epoch": 12}
        more = {"loss": 1.5, "top1": np.float64(73.31), "top5": torch.tensor(93.25), "top10": 97.15}
        torch.save({**checkpoint, **more, "optimizer": optimizer.state_dict()}, folder / name)
    both = {f"{side}_model.{n}": x for side, salt in (("img", "photo:"), ("skt", "sketch:"))
            for n, x in authors(salt, 8).items()}  # fmt: skip
    both |= {"trsm.proj1.weight": torch.zeros(4, 8), "img_mlp_head.weight": torch.zeros(2, 2)}
    torch.save(
        {"model": both, "epoch": 5, "loss": 0.5, "top1": 74.25, "top5": 93.5, "top10": 97.5}, folder / "stage2.pth"
    )
    torch.save({"weights": RunsCode()}, folder / "runs_code.pth")
    torch.save({"state_dict": {}, "args": argparse.Namespace(lr=1)}, folder / "namespace.pth")
    torch.save(torch.nn.Linear(2, 2), folder / "module.pth")
    torch.save({"a": torch.zeros(2)}, folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "script.pt")
    pixels = torch.from_numpy(image("input", (2, 3, 16, 16)))
    with torch.no_grad():
        tokens = model.forward_features(pixels)
        embedding = network("photo:")(pixels)
    np.savez_compressed(folder / "outputs.npz", tokens=tokens.numpy(), photo_feature=embedding.numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) == 2 else Path(__file__).parent / "files")
