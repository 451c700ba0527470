"""The configuration: one dataclass per section, whose defaults are the paper's recipe.

An empty string or a zero means "off" or "by default" (the comment says which), so that every field has one type and
can be given on the command line as `--config.section.field=value`.
"""

import dataclasses
import typing
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import ml_collections

Resample = Literal["bilinear", "bicubic"]
CacheMode = Literal["auto", "ram", "disk", "none"]
ViewName = Literal["a0", "a1", "a2"]
Stem = Literal["linear", "conv"]
Pooling = Literal["", "cls", "mean", "max", "all"]
Dtype = Literal["float32", "bfloat16"]
Precision = Literal["default", "high", "highest"]
AttentionName = Literal["auto", "merged", "xla", "cudnn"]
Pairing = Literal["matched", "all_pairs"]
LossTerms = Literal["intended", "published"]
Optimiser = Literal["adam", "adamw", "muon"]
Schedule = Literal["constant", "cosine"]
TrsmStart = Literal["random", "encoder"]
EvalSplit = Literal["test", "validation"]
EvalProtocol = Literal["encoder", "late", "late_rerank", "rerank", "all_pairs", "fused", "fused_rerank", "paired"]

PHOTOS = "photos"  # stands for the name of a data set: photos alone, without a sketch


class ConfigError(ValueError):
    """A configuration that cannot be run; the message lists every problem with its values."""


@typing.runtime_checkable
class Settings(typing.Protocol):
    """Nested settings: a dict, or ml_collections' ConfigDict, which is no Mapping."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        ...

    def __getitem__(self, name: str, /) -> Any:
        """Give a value."""
        ...

    def __contains__(self, name: object, /) -> bool:
        """Tell whether there is such a name."""
        ...

    def keys(self) -> Iterable[str]:
        """Give the names; what has only the methods above may be a string."""
        ...


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which sketches and photos, and how they reach the device."""

    name: str = "clothes_v1"  # a data set; docs/data.md lists them; photos = unpaired_photos alone, without a sketch
    dir: str = ""  # folder with trainA/ trainB/ testA/ testB/; "" = $EFFNET_DATA_DIR/<name>
    unpaired_photos: str = ""  # folder of photos without sketches, which join training with drawings made on the fly
    unpaired_share: float = 0.5  # share of a batch that they fill, in (0, 1)
    tfds_dir: str = ""  # where built data sets live; "" = $TFDS_DATA_DIR or ~/tensorflow_datasets
    validation_share: float = 0.0  # share of the training photos held out to choose epochs, 0..0.5; at least 20 photos
    split_seed: int = 0  # draws the validation photos, and the test photos of a folder without test folders
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)  # subtracted from [0, 1] pixels, RGB; paper: none
    std: tuple[float, ...] = (1.0, 1.0, 1.0)  # divides [0, 1] pixels, RGB; paper: none
    resample: Resample = "bilinear"  # Pillow filter of the resizes
    cache: CacheMode = "auto"  # resized images: ram, disk, none (decode each time) or auto (the first that fits)
    cache_dir: str = ""  # "" = ~/.cache/effnet_jax
    workers: int = 0  # decoding processes where nothing is cached; 0 = one per core


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """The two views of each image: anchor (evaluated like test images) and augmented."""

    sketch_views: tuple[ViewName, ...] = ("a0", "a1")  # anchor, augmented: plain, rotated, or cropped and coloured
    photo_views: tuple[ViewName, ...] = ("a0", "a1")
    fill: tuple[int, ...] = (0, 0, 0)  # RGB 0..255 outside a rotated image; paper: black
    other_sketch: bool = False  # the augmented view of a sketch is another sketch of its photo, where there is one
    redraw: float = 0.0  # share of the real sketches that the pen draws anew in each epoch: thickness, loss, bending
    max_angle: float = 30.0  # a1 rotates by U(-max_angle, max_angle), degrees
    mirror: float = 0.8  # a1 mirrors with this probability
    mirror_pairs: float = 0.0  # probability that a sketch and its photo are mirrored alike, before any view is made
    crop_area: tuple[float, ...] = (0.08, 1.0)  # a2 crops U(low, high) of the area; torchvision's
    crop_ratio: tuple[float, ...] = (0.75, 4 / 3)  # width over height of a2's crop, log-uniform; torchvision's
    crop_mirror: float = 0.5  # a2 mirrors with this probability
    jitter: tuple[float, ...] = (0.4, 0.4, 0.4, 0.1)  # a2's brightness, contrast, saturation, and hue in turns


@dataclasses.dataclass(frozen=True)
class PenConfig:
    """The pen that draws pseudo sketches from photos, on a canvas of 256 x 256; of two numbers one between is drawn."""

    edge_scale: tuple[float, ...] = (1.2, 3.0)  # standard deviation of the blur before edges are found, pixels
    edge_threshold: tuple[float, ...] = (0.02, 0.12)  # least Sobel gradient of an edge that goes on; black to white: 4
    edge_hysteresis: tuple[float, ...] = (2.0, 3.0)  # an edge begins at so many times that gradient
    shortest_stroke: tuple[float, ...] = (8.0, 40.0)  # strokes of fewer pixels are left out
    stroke_loss: tuple[float, ...] = (0.0, 0.3)  # share of the other strokes that is lost
    longest_lost: float = 250.0  # longer strokes are never lost, pixels
    thickness: tuple[float, ...] = (0.3, 0.6)  # standard deviation of the blur that makes a line, pixels
    darkness: tuple[float, ...] = (0.4, 1.0)  # of a drawing's lines: 1 is black, 0 white
    bend: tuple[float, ...] = (1.5, 4.0)  # standard deviation of how far lines are bent, pixels
    bend_width: tuple[float, ...] = (12.0, 24.0)  # over how many pixels they are bent
    tilt: float = 3.0  # standard deviation of the turn of the whole, degrees
    stretch: float = 0.06  # standard deviation of height and width, as a share
    shift: float = 5.0  # standard deviation of the place, pixels


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture of the encoders and where their first weights come from."""

    backbone: str = "vit_base"  # vit_*, swin_*, convnext_*, vgg16, resnet18, resnet50, inception_v3; docs/weights.md
    image_size: int = 224  # height and width, pixels
    patch_size: int = 16  # pixels; ViT
    width: int = 0  # channels of the tokens (ViT) or of the first stage; 0 = the preset's
    depth: int = 0  # blocks (ViT) or blocks of each stage; 0 = the preset's
    heads: int = 0  # attention heads, of the first stage where there are several; 0 = the preset's
    stem: Stem = "linear"  # ViT: pixels to tokens, linear (paper) or conv, which trains from random numbers far sooner
    pooling: Pooling = ""  # feature: cls, or mean, max, all of the patch tokens; "" = the backbone's, ViT: cls (paper)
    drop_path: float = 0.1  # Swin, ConvNeXt: rows lose the last block at this rate in training, others less; paper: 0.1
    token_recycling: bool = False  # ViT: MSTR mixes tokens at three scales into what the head sees
    recycling_heads: int = 8  # attention heads of MSTR's transformers; must divide the token width
    recycling_hidden: int = 2048  # hidden width of the networks of MSTR's transformers
    recycling_as_published: bool = False  # MSTR as its code does it, not as described: scores depend on the batch
    embedding_size: int = 512  # width of the compared embedding
    shared_encoders: bool = False  # one encoder, backbone and head, for both domains; paper: two
    weights: str = "auto"  # a file, timm/NAME.TAG, none, or auto: what is usual for the backbone; paper: ImageNet
    dtype: Dtype = "float32"  # compute dtype; parameters are always float32
    precision: Precision = "default"  # of float32 matrix products; default: TF32 on GPUs, bf16 on TPUs
    attention: AttentionName = "auto"  # ViT: merged, xla, cudnn, or auto: the best that the device can; equal in value
    remat: bool = False  # recompute blocks in the backward pass: less memory, about a third more time


@dataclasses.dataclass(frozen=True)
class TrsmConfig:
    """Stage 2: TRSM on the frozen encoders of the run that `init_from` names."""

    enabled: bool = False
    heads: int = 16  # attention heads; must divide the token width
    dropout: float = 0.2  # of attention maps and after the linear layers, in training
    pairing: Pairing = "matched"  # matched: each sketch with its own photo (paper); all_pairs: with all of the batch
    loss_terms: LossTerms = "intended"  # both intra terms; published: the photo's twice, the sketch's not at all
    start: TrsmStart = "random"  # random (paper); encoder: its first scores are the encoder's cosines
    weight: float = 1.0  # w of fused* and search: score = (1 - w) * the encoder's cosine + w * TRSM's, 0..1
    choose_weight: bool = False  # take the w that is best on the held-out photos instead, and keep it
    cache_tokens: bool = True  # encode unaugmented views once, where a quarter of the free memory holds their tokens


@dataclasses.dataclass(frozen=True)
class LateConfig:
    """Late interaction: each patch of a sketch looks for the photo's patch most like it. Only with a ViT."""

    window: float = 2.0  # how far it looks, in patches; 0 = all over the photo
    ink: float = 2.0  # mean darkness, 0..255, from which a patch of a sketch counts
    weight: float = 1.0  # w, 0..1: the mean of cosine and score, weighed by 1 - w and w * scale
    choose_weight: bool = False  # take the w that is best on the held-out photos instead, and keep it
    scale: float = 2.0  # the spread of cosines of embeddings over that of patches, between the photos of a gallery


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The four InfoNCE terms, named as in the paper's figure, and MSTR's."""

    multi: float = 1.0  # weight of l(head(sketch), head(photo))
    intra_sketch: float = 1.0  # weight of l(augmented sketch, sketch)
    intra_photo: float = 1.0  # weight of l(augmented photo, photo)
    inter: float = 1.0  # weight of l(sketch CLS, photo CLS)
    late: float = 0.0  # weight of l(late interaction of each sketch with each photo of the batch), ViT; ours
    decorrelation: float = 1.0  # weight of MSTR's term, where model.token_recycling is on
    temperature: float = 0.07  # cosine similarities are divided by it
    learn_temperature: bool = False  # start from `temperature` and train its logarithm
    same_photo_negatives: bool = False  # paper: True, two sketches of one photo repel each other
    block_pairs: int = 1024  # larger batches are compared with so many pairs at a time; 0 = always with all at once


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Optimiser and learning rate."""

    name: Optimiser = "adam"  # adam: L2 added to the gradient (paper); adamw, muon: decoupled decay
    learning_rate: float = 6e-6  # peak
    kernel_rate: float = 4.0  # muon: linear layers and convolutions learn and decay at so many times the rate
    schedule: Schedule = "constant"  # constant or cosine (to zero at the last step)
    warmup_steps: int = 0  # linear from zero
    weight_decay: float = 1e-4
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float = 0.0  # global gradient norm; 0 = off
    layer_decay: float = 1.0  # ViT: each block learns at this times the rate of the next, 0..1; 1 = all at one rate
    freeze: tuple[str, ...] = ()  # parameters that do not learn, by name: encoder.backbone.patch_embed.*


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, in what batches, and what is kept."""

    batch_size: int = 16  # sketch-photo pairs per step, over all devices
    group: int = 0  # sketches of a batch that stand together, of photos that the encoder finds alike; 0 = at random
    micro_batch_size: int = 0  # pairs encoded at a time, each twice; all stay negatives; 0 = the whole batch at once
    epochs: float = 500.0  # passes over the training sketches, or photos alone; batches run across epoch ends
    max_steps: int = 0  # a longer run ends at this step, its schedule too; 0 = no limit
    centring: bool = False  # take each domain's mean over the training split off its embeddings, and keep it
    average: float = 0.0  # decay of the moving average of the parameters that is evaluated, 0..1; 0 = none, 0.999 usual
    eval_every_epochs: float = 5.0  # validation, where there is one, and a checkpoint
    checkpoint_every_steps: int = 0  # further checkpoints between evaluations; 0 = none
    keep_checkpoints: int = 2  # the last N; the best on validation is kept besides
    log_every_steps: int = 10
    seed: int = 0  # initialisation, order and augmentation


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """How the work lies on the devices; changes no result but by rounding, and may differ when a run is resumed."""

    fsdp: bool = False  # cut parameters and optimiser state over the devices: less memory on each, more communication


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """What is reported."""

    batch_size: int = 64  # images encoded at a time
    split: EvalSplit = "test"  # validation: the report is on held-out photos, while a recipe is still being sought
    ks: tuple[int, ...] = (1, 5, 10)  # K of Acc@K
    protocols: tuple[EvalProtocol, ...] = ("encoder",)  # ViT: late; TRSM: all_pairs, fused, paired; and _rerank
    shortlist: int = 100  # photos that *rerank scores anew for each sketch, the first of the encoder
    paired_shuffles: int = 8  # orders of the queries over which paired reports its spread
    photo_to_sketch: bool = False  # also rank the sketches for each photo
    best_on_test: bool = False  # also report the paper's optimistic rule: the epoch that is best on the test set
    grid_rows: int = 6  # sketches in the retrieval grid picture; 0 = no picture


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """What is written while training; may differ when a run is resumed, as may the places in `data`."""

    tensorboard: bool = True
    progress: bool = True  # progress bars on standard error
    compilation_cache: str = "auto"  # folder of compiled programs; auto: ~/.cache/effnet_jax/xla but on CPU; "" = none
    profile_steps: tuple[int, ...] = (0, 0)  # first and last step traced into workdir/profile; (0, 0) = none


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole experiment. The defaults are the paper's recipe on Clothes-V1."""

    init_from: str = ""  # a run, or what export wrote: stage 1 starts from its encoders, stage 2 freezes them
    data: DataConfig = DataConfig()
    pen: PenConfig = PenConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    trsm: TrsmConfig = TrsmConfig()
    late: LateConfig = LateConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    parallel: ParallelConfig = ParallelConfig()
    eval: EvalConfig = EvalConfig()
    log: LogConfig = LogConfig()

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dict, ready for JSON."""
        return dataclasses.asdict(self)


def paper() -> "ml_collections.ConfigDict":
    """Give the paper's recipe as a ConfigDict, for `get_config()` of the files in configs/ to change."""
    from ml_collections import ConfigDict

    return ConfigDict(Config().to_dict())


def ours() -> "ml_collections.ConfigDict":
    """Give our recipe for small data sets as a ConfigDict: one shared encoder, trained briefly at a higher rate.

    Source: chosen on held-out training photos of QMUL-Chair-V1 and QMUL-Shoe-V1; docs/results.md has the figures.
    """
    config = paper()
    config.data.mean = config.data.std = (0.5, 0.5, 0.5)  # what the ImageNet weights were trained with
    config.data.validation_share = 0.1
    config.augment.fill = (255, 255, 255)  # a rotated drawing stays on white paper
    config.augment.sketch_views = ("a1", "a1")
    config.augment.max_angle = 10.0
    config.augment.mirror = config.augment.crop_mirror = 0.0  # what points to the left does so in both pictures
    config.augment.photo_views = ("a2", "a2")
    config.augment.crop_area = (0.8, 1.0)
    config.augment.crop_ratio = (0.9, 1.1)
    config.augment.jitter = (0.3, 0.3, 0.9, 0.5)  # a sketch has no colours, so photos are recognised without theirs
    config.loss.intra_sketch = config.loss.intra_photo = 0.0  # a picture beside itself teaches nothing here
    config.model.shared_encoders = True
    config.optim.name = "adamw"
    config.optim.learning_rate = 1e-4
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 20
    config.optim.weight_decay = 0.05
    config.optim.clip_norm = 1.0
    config.train.epochs = 25.0
    config.train.eval_every_epochs = 1.0
    return config


def with_late(config: "ml_collections.ConfigDict") -> "ml_collections.ConfigDict":
    """Train a ViT for late interaction too, and report it beside the cosine."""
    config.loss.late = 1.0
    config.eval.protocols = ("encoder", "late")
    return config


def with_trsm(config: "ml_collections.ConfigDict") -> "ml_collections.ConfigDict":
    """Turn a recipe of stage 1 into the paper's stage 2 on the same data and encoders.

    Source: EffNet's stage 2: learning rate 6e-7, 200 epochs, dropout 0.2, the rest as in stage 1.
    """
    first = paper()
    config.trsm.enabled = True
    for name in ("sketch_views", "photo_views", "max_angle", "mirror"):
        config.augment[name] = first.augment[name]
    config.loss.intra_sketch, config.loss.intra_photo = first.loss.intra_sketch, first.loss.intra_photo
    config.loss.late = 0.0
    config.optim.learning_rate = 6e-7
    config.train.epochs = 200.0
    config.eval.protocols = ("encoder", "rerank", "all_pairs")
    return config
