r"""Stage 2 on your own sketches and photos: TRSM on the frozen encoders of a run of configs/folder.py.

  python main.py --config configs/folder_trsm.py --workdir runs/mine_trsm --config.init_from=runs/mine \
      --config.data.dir=FOLDER

A pair scorer of this kind can re-rank what the encoders found; whether it helps has to be measured, and the report
shows both. The model must be that of the first run, and so must the settings of the data where the data are the same.
"""

from effnet_jax.config import ours, with_trsm


def get_config():
    config = with_trsm(ours())
    config.data.name = "sketch_photo_folder"
    config.model.backbone = "vit_small"
    config.model.weights = "timm/vit_small_patch16_224.augreg_in21k_ft_in1k"
    config.trsm.pairing = "all_pairs"  # trained as it is used: every sketch of a batch with every photo
    config.optim.learning_rate = 1e-4
    config.train.epochs = 10.0
    return config
