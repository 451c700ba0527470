r"""Stage 2 on QMUL-Shoe-V1: TRSM on the frozen encoder of a run of configs/shoe_v1_ours.py.

  python main.py --config configs/shoe_v1_ours_trsm.py --workdir runs/shoe_v1_ours_trsm \
      --config.init_from=runs/shoe_v1_ours --config.data.dir=FOLDER

The rate is the one fixed on the chairs, the length that of the first stage; nothing was tried on the shoes.
"""

from effnet_jax.config import ours, with_trsm


def get_config():
    config = with_trsm(ours())
    config.data.name = "qmul_shoe_v1/all"
    config.data.validation_share = 0.0
    config.model.backbone = "vit_tiny"
    config.model.image_size = 320
    config.trsm.pairing = "all_pairs"
    config.optim.learning_rate = 1e-3
    config.optim.warmup_steps = 10
    config.train.epochs = 3.0
    config.eval.shortlist = 10
    return config
