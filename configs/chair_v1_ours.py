r"""EffNet on QMUL-Chair-V1 (200 sketch-photo pairs; test 97) by our recipe: first photos alone, then pairs, briefly.

  python main.py --config configs/photos_only.py --workdir runs/photos --config.data.unpaired_photos=PHOTOS \
      --config.model.backbone=vit_tiny --config.model.weights=auto
  python main.py --config configs/chair_v1_ours.py --workdir runs/chair_v1_ours --config.data.dir=FOLDER \
      --config.init_from=runs/photos

Without init_from it starts from ImageNet weights. One shared ViT-Ti, trained for late interaction too. The recipe was
fixed on 50 held-out training photos (--config.data.validation_share=0.25); this trains on all of them.
"""

from effnet_jax.config import ours, with_late


def get_config():
    config = with_late(ours())
    config.data.name = "qmul_chair_v1"
    config.data.validation_share = 0.0  # nothing is left to choose: the last checkpoint is the one
    config.model.backbone = "vit_tiny"
    config.optim.warmup_steps = 10
    config.train.epochs = 8.0
    return config
