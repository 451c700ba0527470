r"""EffNet on QMUL-Shoe-V1 with all 1,207 sketches of its 304 training photos (test 115 of 115) by our recipe.

  python main.py --config configs/photos_only.py --workdir runs/photos --config.data.unpaired_photos=PHOTOS \
      --config.model.backbone=vit_tiny --config.model.weights=auto
  python main.py --config configs/shoe_v1_ours.py --workdir runs/shoe_v1_ours --config.data.dir=FOLDER \
      --config.init_from=runs/photos

Without init_from it starts from ImageNet weights. One shared ViT-Ti on 320 pixels, by which shoes gain and chairs do
not, trained for late interaction too. The recipe was fixed on 76 held-out training photos
(--config.data.validation_share=0.25); this trains on all of them.
"""

from effnet_jax.config import ours, with_late


def get_config():
    config = with_late(ours())
    config.data.name = "qmul_shoe_v1/all"
    config.data.validation_share = 0.0  # nothing is left to choose: the last checkpoint is the one
    config.model.backbone = "vit_tiny"
    config.model.image_size = 320
    config.optim.warmup_steps = 10
    config.train.epochs = 3.0
    return config
