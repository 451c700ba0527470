"""EffNet on QMUL-Shoe-V1 with all 1,207 sketches of its 304 training photos (test 115 of 115) by our recipe.

  python main.py --config configs/shoe_v1_ours.py --workdir runs/shoe_v1_ours --config.data.dir=FOLDER

One shared ViT-Ti; only the multi and inter terms, on augmented views, which halves a step. The recipe was fixed on 76
held-out training photos (--config.data.validation_share=0.25); this trains on all of them.
"""

from effnet_jax.config import ours


def get_config():
    config = ours()
    config.data.name = "qmul_shoe_v1/all"
    config.data.validation_share = 0.0  # nothing is left to choose: the last checkpoint is the one
    config.augment.sketch_views = config.augment.photo_views = ("a1", "a1")
    config.loss.intra_sketch = config.loss.intra_photo = 0.0
    config.model.backbone = "vit_tiny"
    config.model.weights = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    config.optim.warmup_steps = 10
    config.train.epochs = 3.0
    return config
