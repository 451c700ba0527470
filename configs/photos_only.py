"""EffNet on photos alone: not one sketch is needed. Drawings of the photos, made on the fly, stand in for sketches.

  python main.py --config configs/photos_only.py --workdir runs/photos --config.data.unpaired_photos=FOLDER
  effnet-jax embed FOLDER --checkpoint runs/photos --out my_index

FOLDER is searched to the bottom for photos, at least 40. The figures are on held-out photos with a drawing each, and
named `drawn`: real sketches are harder.
"""

from effnet_jax.config import ours


def get_config():
    config = ours()
    config.data.name = "photos"
    config.model.backbone = "vit_small"
    config.model.weights = "timm/vit_small_patch16_224.augreg_in21k_ft_in1k"
    config.augment.sketch_views = config.augment.photo_views = ("a1", "a1")
    config.augment.mirror = 0.0
    config.augment.mirror_pairs = 0.5
    config.loss.intra_sketch = config.loss.intra_photo = 0.0
    config.train.epochs = 30.0
    config.train.max_steps = 400  # more bring nothing
    config.train.eval_every_epochs = 5.0
    config.train.checkpoint_every_steps = 100
    return config
