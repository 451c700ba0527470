r"""Stage 2 on Clothes-V1: TRSM on the frozen encoders of a run of configs/clothes_v1.py, by the paper's recipe.

  python main.py --config configs/clothes_v1_trsm.py --workdir runs/clothes_v1_trsm \
      --config.init_from=runs/clothes_v1 --config.data.dir=FOLDER
"""

from effnet_jax.config import paper, with_trsm


def get_config():
    config = with_trsm(paper())  # arXiv 2406.11551, stage 2: learning rate 6e-7, 200 epochs, dropout 0.2
    config.data.name = "clothes_v1"
    config.eval.shortlist = 10
    return config
