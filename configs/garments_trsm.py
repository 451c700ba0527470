"""Stage 2 on procedural garments: TRSM on the frozen encoder of a run of configs/garments.py.

python main.py --config configs/garments_trsm.py --workdir runs/garments_trsm --config.init_from=runs/garments
"""

from effnet_jax.config import ours, with_trsm


def get_config():
    config = with_trsm(ours())
    config.data.name = "procedural_garments"
    config.model.backbone = "vit_tiny"
    config.model.weights = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    config.trsm.pairing = "all_pairs"  # trained as it is used: every sketch of a batch with every photo
    config.optim.learning_rate = 1e-4
    config.train.epochs = 3.0
    config.eval.shortlist = 10
    return config
