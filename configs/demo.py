"""The demo: EffNet from random numbers on procedural garments, in a few minutes on two CPU cores.

  python main.py --config configs/demo.py --workdir runs/demo

Nothing is downloaded: the data set (925 training and 275 test sketches of unseen garments) is drawn first.
"""

from effnet_jax.config import ours


def get_config():
    config = ours()
    config.data.name = "procedural_garments"
    config.data.mean = (1.0, 1.0, 1.0)  # white paper becomes zero: without it, training from scratch does not start
    config.data.std = (0.3, 0.3, 0.3)
    config.augment.max_angle = 10.0
    config.augment.mirror = 0.5
    config.model.weights = "none"
    config.model.backbone = "vit_tiny"
    config.model.image_size = 96
    config.model.width = 128
    config.model.depth = 3
    config.model.heads = 4
    config.model.pooling = "mean"
    config.model.embedding_size = 128
    config.optim.learning_rate = 2e-3
    config.optim.warmup_steps = 40
    config.train.batch_size = 64
    config.train.epochs = 40.0
    config.train.eval_every_epochs = 10.0
    return config
