"""EffNet on your own sketches and photos, by our recipe for small data sets.

  python main.py --config configs/folder.py --workdir runs/mine --config.data.dir=FOLDER

FOLDER holds trainA/ (sketches) and trainB/ (photos), and testA/ and testB/ or neither: without them every fifth photo,
with its sketches, is drawn for the test by data.split_seed. A photo is called <id>.<ext> and its sketches
<id>_<tag>.<ext>, such as 00066.jpg and 00066_01.png; docs/data.md says more.
"""

from effnet_jax.config import ours, with_late


def get_config():
    config = with_late(ours())
    config.data.name = "sketch_photo_folder"
    config.model.backbone = "vit_small"  # a quarter of the paper's ViT-B; fits any GPU, and trains on a CPU overnight
    config.model.weights = "timm/vit_small_patch16_224.augreg_in21k_ft_in1k"
    return config
