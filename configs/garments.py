"""EffNet on procedural garments by our recipe: one shared ViT-Ti from ImageNet weights. The demo's larger sister.

  python main.py --config configs/garments.py --workdir runs/garments

The data set is drawn on first use. Five minutes per epoch on two CPU cores; seconds on a GPU.
"""

from effnet_jax.config import ours, with_late


def get_config():
    config = with_late(ours())
    config.data.name = "procedural_garments"
    config.model.backbone = "vit_tiny"
    config.model.weights = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    config.train.epochs = 3.0
    return config
