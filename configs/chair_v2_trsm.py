r"""Stage 2 on QMUL-Chair-V2: TRSM on the frozen encoders of a run of configs/chair_v2.py, by the paper's recipe.

  python main.py --config configs/chair_v2_trsm.py --workdir runs/chair_v2_trsm \
      --config.init_from=runs/chair_v2 --config.data.dir=FOLDER
"""

from effnet_jax.config import paper, with_trsm


def get_config():
    config = with_trsm(paper())  # arXiv 2406.11551, stage 2: learning rate 6e-7, 200 epochs, dropout 0.2
    config.data.name = "qmul_chair_v2"
    config.eval.shortlist = 10
    return config
