"""EffNet on photos alone: not one sketch is needed. Drawings of the photos, made on the fly, stand in for sketches.

  python main.py --config configs/photos_only.py --workdir runs/photos --config.data.unpaired_photos=FOLDER
  effnet-jax embed FOLDER --checkpoint runs/photos --out my_index

FOLDER is searched to the bottom for photos, at least 40. The figures are on held-out photos with a drawing each, and
named `drawn`: real sketches are harder. Patches are compared as well (`late`), and not trained for it: that would fit
them to drawings, and lose on real sketches (docs/results.md).
"""

from effnet_jax.config import ours


def get_config():
    config = ours()
    config.data.name = "photos"
    config.model.backbone = "vit_small"
    config.model.weights = "timm/vit_small_patch16_224.augreg_in21k_ft_in1k"
    config.augment.max_angle = 30.0
    config.augment.mirror_pairs = 0.5
    config.train.epochs = 30.0
    config.train.max_steps = 400  # more bring nothing
    config.train.eval_every_epochs = 5.0
    config.train.checkpoint_every_steps = 100
    config.eval.protocols = ("encoder", "late")
    return config
