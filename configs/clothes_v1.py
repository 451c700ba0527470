"""EffNet on Clothes-V1 (925 sketches of 380 photos; test 275 of 120), by the paper's recipe.

  python main.py --config configs/clothes_v1.py --workdir runs/clothes_v1 --config.data.dir=FOLDER

The epoch is not chosen: the report is on the last one. The paper chose it on the test set (94.12 / 98.91 / 99.27).
"""

from effnet_jax.config import paper


def get_config():
    config = paper()  # arXiv 2406.11551 and its code: ViT-B/16, two encoders, Adam 6e-6 with L2, 16 pairs, 500 epochs
    config.data.name = "clothes_v1"
    return config
