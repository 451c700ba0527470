"""effnet_jax: fine-grained sketch-based image retrieval with EffNet, in JAX.

The modules and pure functions are here at once; whatever needs grain, TFDS or orbax (`train`, `evaluate`,
`load_split`) is imported when it is first used, so that `import effnet_jax` stays quick and lean.

Source: EffNet, arXiv 2406.11551.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from effnet_jax.catalogue.build import build_catalogue
    from effnet_jax.catalogue.catalogue import Catalogue
    from effnet_jax.config import Config, ConfigError
    from effnet_jax.data.loading import load_split
    from effnet_jax.data.preprocessing import Preprocessing
    from effnet_jax.data.split import Split
    from effnet_jax.losses import alignment_loss, info_nce
    from effnet_jax.models.convnext import ConvNeXt
    from effnet_jax.models.effnet import EffNet, FunctionalEffNet, make_functional
    from effnet_jax.models.encoder import Encoder, Encoding
    from effnet_jax.models.inception import InceptionV3
    from effnet_jax.models.resnet import ResNet
    from effnet_jax.models.swin import Swin
    from effnet_jax.models.vgg import VGG16
    from effnet_jax.models.vit import ViT
    from effnet_jax.retrieval.ranking import Ranking, accuracy_at_k, rank_gallery
    from effnet_jax.run import evaluate, train
    from effnet_jax.runs.trained import trained_encoders
    from effnet_jax.weights.load import load_encoder

_HOMES = {
    "Catalogue": "catalogue.catalogue",
    "Config": "config",
    "ConfigError": "config",
    "ConvNeXt": "models.convnext",
    "EffNet": "models.effnet",
    "Encoder": "models.encoder",
    "Encoding": "models.encoder",
    "FunctionalEffNet": "models.effnet",
    "InceptionV3": "models.inception",
    "Preprocessing": "data.preprocessing",
    "Ranking": "retrieval.ranking",
    "ResNet": "models.resnet",
    "Split": "data.split",
    "Swin": "models.swin",
    "VGG16": "models.vgg",
    "ViT": "models.vit",
    "accuracy_at_k": "retrieval.ranking",
    "alignment_loss": "losses",
    "build_catalogue": "catalogue.build",
    "evaluate": "run",
    "info_nce": "losses",
    "load_encoder": "weights.load",
    "load_split": "data.loading",
    "make_functional": "models.effnet",
    "rank_gallery": "retrieval.ranking",
    "train": "run",
    "trained_encoders": "runs.trained",
}

__all__ = [
    "VGG16",
    "Catalogue",
    "Config",
    "ConfigError",
    "ConvNeXt",
    "EffNet",
    "Encoder",
    "Encoding",
    "FunctionalEffNet",
    "InceptionV3",
    "Preprocessing",
    "Ranking",
    "ResNet",
    "Split",
    "Swin",
    "ViT",
    "accuracy_at_k",
    "alignment_loss",
    "build_catalogue",
    "evaluate",
    "info_nce",
    "load_encoder",
    "load_split",
    "make_functional",
    "rank_gallery",
    "train",
    "trained_encoders",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"effnet_jax has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"effnet_jax.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
