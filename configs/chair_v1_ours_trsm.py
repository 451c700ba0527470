r"""Stage 2 on QMUL-Chair-V1: TRSM on the frozen encoder of a run of configs/chair_v1_ours.py.

  python main.py --config configs/chair_v1_ours_trsm.py --workdir runs/chair_v1_ours_trsm \
      --config.init_from=runs/chair_v1_ours --config.data.dir=FOLDER

Rate and length were fixed on 50 held-out training photos, where the encoder alone stays far ahead (docs/results.md).
"""

from effnet_jax.config import ours, with_trsm


def get_config():
    config = with_trsm(ours())
    config.data.name = "qmul_chair_v1"
    config.data.validation_share = 0.0
    config.model.backbone = "vit_tiny"
    config.trsm.pairing = "all_pairs"
    config.optim.learning_rate = 1e-3
    config.optim.warmup_steps = 10
    config.train.epochs = 8.0
    config.eval.shortlist = 10
    return config
