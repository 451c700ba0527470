# The public names and where they live: the one listing, which __init__.py reads and type checkers see.
from effnet_jax.catalogue.build import build_catalogue as build_catalogue
from effnet_jax.catalogue.catalogue import Catalogue as Catalogue
from effnet_jax.config import Config as Config
from effnet_jax.config import ConfigError as ConfigError
from effnet_jax.config import LossConfig as LossConfig
from effnet_jax.config import ModelConfig as ModelConfig
from effnet_jax.config import TrsmConfig as TrsmConfig
from effnet_jax.data.decode import DecodeError as DecodeError
from effnet_jax.data.loading import load_split as load_split
from effnet_jax.data.preprocessing import Preprocessing as Preprocessing
from effnet_jax.data.problems import DataError as DataError
from effnet_jax.data.split import Split as Split
from effnet_jax.encoders.encoders import Encoders as Encoders
from effnet_jax.losses import alignment_loss as alignment_loss
from effnet_jax.losses import info_nce as info_nce
from effnet_jax.models.convnext import ConvNeXt as ConvNeXt
from effnet_jax.models.effnet import EffNet as EffNet
from effnet_jax.models.effnet import FunctionalEffNet as FunctionalEffNet
from effnet_jax.models.effnet import make_functional as make_functional
from effnet_jax.models.encoder import Encoder as Encoder
from effnet_jax.models.encoder import Encoding as Encoding
from effnet_jax.models.inception import InceptionV3 as InceptionV3
from effnet_jax.models.mstr import MSTR as MSTR
from effnet_jax.models.resnet import ResNet as ResNet
from effnet_jax.models.swin import Swin as Swin
from effnet_jax.models.trsm import TRSM as TRSM
from effnet_jax.models.trsm import FunctionalTRSM as FunctionalTRSM
from effnet_jax.models.trsm import make_functional_trsm as make_functional_trsm
from effnet_jax.models.vgg import VGG16 as VGG16
from effnet_jax.models.vit import ViT as ViT
from effnet_jax.retrieval.ranking import Ranking as Ranking
from effnet_jax.retrieval.ranking import accuracy_at_k as accuracy_at_k
from effnet_jax.retrieval.ranking import rank_gallery as rank_gallery
from effnet_jax.run import evaluate as evaluate
from effnet_jax.run import train as train
from effnet_jax.runs.checkpoints import CheckpointError as CheckpointError
from effnet_jax.runs.folder import Run as Run
from effnet_jax.runs.folder import trained_encoders as trained_encoders
from effnet_jax.runtime.hosts import HostError as HostError
from effnet_jax.stages.trsm.pair_scoring import PairScorer as PairScorer
from effnet_jax.training.loop import InterruptedRun as InterruptedRun
from effnet_jax.training.writers import DivergedError as DivergedError
from effnet_jax.weights.errors import WeightsError as WeightsError
from effnet_jax.weights.load import load_encoder as load_encoder

__all__: list[str]
__version__: str
