"""The demo: from random numbers to retrieval of unseen garments in a few minutes on two CPU cores.

  python main.py --config configs/demo.py --workdir runs/demo

Nothing is downloaded: the data set is drawn first (925 sketches of 380 garments to train, 275 of 120 others to test).
For speed only the multi and inter terms are trained, on random crops, by a small ViT with a convolutional stem.
"""

from effnet_jax.config import ours


def get_config():
    config = ours()
    config.data.name = "procedural_garments"
    config.data.mean = (1.0, 1.0, 1.0)  # white paper becomes zero; otherwise training from scratch hardly starts
    config.data.std = (1.0, 1.0, 1.0)
    config.augment.sketch_views = ("a2", "a2")
    config.augment.crop_area = (0.7, 1.0)
    config.augment.crop_ratio = (0.87, 1.15)
    config.augment.mirror_pairs = 0.5
    config.loss.intra_sketch = config.loss.intra_photo = 0.0
    config.model.weights = "none"
    config.model.backbone = "vit_tiny"
    config.model.depth = 1
    config.model.image_size = 64
    config.model.stem = "conv"
    config.model.pooling = "all"
    config.model.embedding_size = 192
    config.optim.name = "muon"
    config.optim.learning_rate = 2e-3
    config.loss.temperature = 0.1
    config.train.batch_size = 64
    config.train.epochs = 50.0
    config.train.eval_every_epochs = 10.0
    return config
