"""EffNet on QMUL-Chair-V1 (200 sketch-photo pairs; test 97) by our recipe: one shared ViT-Ti, trained briefly.

  python main.py --config configs/chair_v1_ours.py --workdir runs/chair_v1_ours --config.data.dir=FOLDER

The recipe was fixed on 50 held-out training photos (--config.data.validation_share=0.25); this trains on all of them.
"""

from effnet_jax.config import ours


def get_config():
    config = ours()
    config.data.name = "qmul_chair_v1"
    config.data.validation_share = 0.0  # nothing is left to choose: the last checkpoint is the one
    config.model.backbone = "vit_tiny"
    config.model.weights = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    config.optim.warmup_steps = 10
    config.train.epochs = 8.0
    return config
