"""EffNet on QMUL-Chair-V1 (200 sketch-photo pairs; test 97), by the paper's recipe.

  python main.py --config configs/chair_v1.py --workdir runs/chair_v1 --config.data.dir=FOLDER

The paper has no numbers for this set; Triplet-SN (CVPR 2016) reports 72.16 / - / 98.96 on the same test pairs.
"""

from effnet_jax.config import paper


def get_config():
    config = paper()  # arXiv 2406.11551 and its code: ViT-B/16, two encoders, Adam 6e-6 with L2, 16 pairs, 500 epochs
    config.data.name = "qmul_chair_v1"
    return config
