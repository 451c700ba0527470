"""The configuration: one dataclass a section, whose defaults are the paper's recipe.

An empty string or a zero means "off" or "by default" (the comment says which), so that every field has one type and
can be given on the command line as `--config.section.field=value`.
"""

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ml_collections


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


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which sketches and photos, and how they reach the device."""

    name: str = "clothes_v1"  # a data set of tfds_builders/
    dir: str = ""  # folder with trainA/ trainB/ testA/ testB/; "" = $EFFNET_DATA_DIR/<name>
    tfds_dir: str = ""  # where built data sets live; "" = $TFDS_DATA_DIR or ~/tensorflow_datasets
    validation_share: float = 0.0  # share of the training photos held out to choose epochs, 0..0.5; at least 20 photos
    split_seed: int = 0  # draws the validation photos, and the test photos of a folder without test folders
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)  # subtracted from [0, 1] pixels, RGB; paper: none
    std: tuple[float, ...] = (1.0, 1.0, 1.0)  # divides [0, 1] pixels, RGB; paper: none
    resample: str = "bilinear"  # Pillow filter of the resizes: bilinear or bicubic
    cache: str = "auto"  # resized images: ram, disk, none (decode each time) or auto (the first that fits)
    cache_dir: str = ""  # "" = ~/.cache/effnet_jax
    workers: int = 0  # decoding processes where nothing is cached; 0 = one a core


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """The two views of each image: anchor (evaluated like test images) and augmented."""

    sketch_views: tuple[str, ...] = ("a0", "a1")  # anchor, augmented; of a0, a1, a2
    photo_views: tuple[str, ...] = ("a0", "a1")
    fill: tuple[int, ...] = (0, 0, 0)  # RGB 0..255 outside a rotated image; paper: black
    max_angle: float = 30.0  # a1 rotates by U(-max_angle, max_angle), degrees
    mirror: float = 0.8  # a1 mirrors with this probability
    crop_area: tuple[float, ...] = (0.08, 1.0)  # a2 crops U(low, high) of the area
    crop_ratio: tuple[float, ...] = (0.75, 4 / 3)  # width over height of a2's crop, log-uniform
    crop_mirror: float = 0.5  # a2 mirrors with this probability
    jitter: tuple[float, ...] = (0.4, 0.4, 0.4, 0.1)  # a2's brightness, contrast, saturation, hue


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture of the encoders and where their first weights come from."""

    backbone: str = "vit_base"  # vit_tiny, vit_small, vit_base, vit_large
    image_size: int = 224  # height and width, pixels
    patch_size: int = 16  # pixels
    width: int = 0  # token width; 0 = the preset's
    depth: int = 0  # blocks; 0 = the preset's
    heads: int = 0  # attention heads; 0 = the preset's
    stem: str = "linear"  # pixels to tokens: linear (paper) or conv, which trains from random numbers far sooner
    pooling: str = "cls"  # the feature: cls (paper), mean of the patch tokens, or all of them (aligned pictures)
    embedding_size: int = 512  # width of the compared embedding
    shared_encoders: bool = False  # one encoder, backbone and head, for both domains; paper: two
    weights: str = "timm/vit_base_patch16_224.augreg_in21k_ft_in1k"  # .safetensors path, timm/NAME.TAG, or none
    dtype: str = "float32"  # compute dtype: float32 or bfloat16; parameters are always float32
    precision: str = "default"  # of float32 matrix products: default (TF32 on GPUs, bf16 on TPUs), high or highest
    remat: bool = False  # recompute blocks in the backward pass: less memory, about a third more time


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The four InfoNCE terms; names as in the paper's figure."""

    multi: float = 1.0  # weight of l(head(sketch), head(photo))
    intra_sketch: float = 1.0  # weight of l(augmented sketch, sketch)
    intra_photo: float = 1.0  # weight of l(augmented photo, photo)
    inter: float = 1.0  # weight of l(sketch CLS, photo CLS)
    temperature: float = 0.07  # cosine similarities are divided by it
    learn_temperature: bool = False  # start from `temperature` and train its logarithm
    same_photo_negatives: bool = False  # paper: True, two sketches of one photo repel each other


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Optimiser and learning rate."""

    name: str = "adam"  # adam: L2 added to the gradient (paper); adamw: decoupled decay of matrices
    learning_rate: float = 6e-6  # peak
    schedule: str = "constant"  # constant or cosine (to zero at the last step)
    warmup_steps: int = 0  # linear from zero
    weight_decay: float = 1e-4
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float = 0.0  # global gradient norm; 0 = off


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, in what batches, and what is kept."""

    batch_size: int = 16  # sketch-photo pairs a step, over all devices
    epochs: float = 500.0  # passes over the training sketches; batches run across epoch ends
    eval_every_epochs: float = 5.0  # validation, where there is one, and a checkpoint
    checkpoint_every_steps: int = 0  # further checkpoints between evaluations; 0 = none
    keep_checkpoints: int = 2  # the last N; the best on validation is kept besides
    log_every_steps: int = 10
    seed: int = 0  # initialisation, order and augmentation


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """What is reported."""

    batch_size: int = 64  # images encoded at a time
    ks: tuple[int, ...] = (1, 5, 10)  # K of Acc@K
    photo_to_sketch: bool = False  # also rank the sketches for each photo
    best_on_test: bool = False  # also report the paper's optimistic rule: the epoch that is best on the test set
    grid_rows: int = 6  # sketches in the retrieval grid picture; 0 = no picture


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """What is written while training; the only section that may differ when a run is resumed."""

    tensorboard: bool = True
    progress: bool = True  # progress bars on standard error


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole experiment. The defaults are the paper's recipe on Clothes-V1."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
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


def from_mapping(values: Settings) -> Config:
    """Build and validate a Config from nested mappings (a ConfigDict, parsed JSON).

    Raises:
        ConfigError: unknown or missing fields, wrong types, impossible combinations; all of them in one message.
    """
    problems: list[str] = []
    config = _build(Config, values, "config", problems)
    if not problems:
        problems = _impossible(config)
    if problems:
        raise ConfigError("The configuration cannot be run:\n" + "\n".join(f"  - {p}" for p in problems))
    return config


def _build(kind: type, values: Settings, path: str, problems: list[str]) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in fields:
            problems.append(f"{path}.{name} does not exist; {path} has {', '.join(sorted(fields))}")
    given = {}
    for name, field in fields.items():
        if name not in values:
            continue
        hint, value = hints[name], values[name]
        if dataclasses.is_dataclass(hint):
            given[name] = _build(typing.cast(type, hint), value, f"{path}.{name}", problems)
        else:
            given[name] = _convert(hint, value, f"{path}.{field.name}", problems)
    return kind() if problems else kind(**given)


def _convert(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    """Check one value against its annotation; ints are accepted for floats, lists for tuples."""
    if isinstance(hint, types.GenericAlias):
        inner = typing.get_args(hint)[0]
        if isinstance(value, list | tuple):
            return tuple(_convert(inner, v, f"{path}[{i}]", problems) for i, v in enumerate(value))
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif type(value) is hint:
        return value
    problems.append(f"{path} must be {getattr(hint, '__name__', hint)}, but is {value!r}")
    return value


def _impossible(config: Config) -> list[str]:
    """List what cannot be run, with the values and the way out."""
    from effnet_jax.models.vit import PRESETS

    data, augment, model, loss, optim, train, evaluation = (
        config.data, config.augment, config.model, config.loss, config.optim, config.train, config.eval,
    )  # fmt: skip
    width, _, heads = PRESETS.get(model.backbone, (0, 0, 0))
    width, heads = model.width or width, model.heads or heads
    rules = [
        _one_of("data.resample", data.resample, ("bilinear", "bicubic")),
        _one_of("data.cache", data.cache, ("auto", "ram", "disk", "none")),
        _one_of("model.backbone", model.backbone, tuple(PRESETS)),
        _one_of("model.pooling", model.pooling, ("cls", "mean", "all")),
        _one_of("model.stem", model.stem, ("linear", "conv")),
        _one_of("model.dtype", model.dtype, ("float32", "bfloat16")),
        _one_of("model.precision", model.precision, ("default", "high", "highest")),
        _one_of("optim.name", optim.name, ("adam", "adamw")),
        _one_of("optim.schedule", optim.schedule, ("constant", "cosine")),
        (0 <= data.validation_share <= 0.5, f"data.validation_share={data.validation_share} must lie in 0..0.5"),
        (len(data.mean) == 3 == len(data.std), f"data.mean={data.mean} and data.std={data.std} need three numbers"),
        (all(s > 0 for s in data.std), f"data.std={data.std} must be above 0"),
        (data.workers >= 0, f"data.workers={data.workers} must not be negative"),
        (len(augment.fill) == 3 and all(0 <= f <= 255 for f in augment.fill),
         f"augment.fill={augment.fill} needs three numbers in 0..255"),
        (0 <= augment.mirror <= 1, f"augment.mirror={augment.mirror} is a probability, 0..1"),
        (0 <= augment.crop_mirror <= 1, f"augment.crop_mirror={augment.crop_mirror} is a probability, 0..1"),
        (len(augment.crop_area) == 2 and 0 < augment.crop_area[0] <= augment.crop_area[1] <= 1,
         f"augment.crop_area={augment.crop_area} needs 0 < low <= high <= 1"),
        (len(augment.crop_ratio) == 2 and 0 < augment.crop_ratio[0] <= augment.crop_ratio[1],
         f"augment.crop_ratio={augment.crop_ratio} needs 0 < low <= high"),
        (len(augment.jitter) == 4 and all(0 <= j <= 1 for j in augment.jitter[:3]) and 0 <= augment.jitter[-1] <= 0.5,
         f"augment.jitter={augment.jitter} needs three of 0..1 and one of 0..0.5"),
        (0 <= augment.max_angle <= 180, f"augment.max_angle={augment.max_angle} must lie in 0..180 degrees"),
        (model.patch_size > 0 and model.image_size > 0 and model.image_size % max(model.patch_size, 1) == 0,
         f"model.image_size={model.image_size} must be a positive multiple of model.patch_size={model.patch_size}"),
        (min(model.width, model.depth, model.heads) >= 0 and (not heads or width % heads == 0),
         f"the token width {width} must be a multiple of the number of heads {heads} (model.width, model.heads)"),
        (model.embedding_size > 0, f"model.embedding_size={model.embedding_size} must be above 0"),
        (bool(model.weights), "model.weights is empty; give a .safetensors path, timm/NAME.TAG, or none"),
        (loss.temperature > 0, f"loss.temperature={loss.temperature} must be above 0"),
        (min(loss.multi, loss.intra_sketch, loss.intra_photo, loss.inter) >= 0
         and max(loss.multi, loss.intra_sketch, loss.intra_photo, loss.inter) > 0,
         "the weights in loss must not be negative, and one of them must be above 0"),
        (optim.learning_rate > 0, f"optim.learning_rate={optim.learning_rate} must be above 0"),
        (optim.warmup_steps >= 0, f"optim.warmup_steps={optim.warmup_steps} must not be negative"),
        (optim.weight_decay >= 0, f"optim.weight_decay={optim.weight_decay} must not be negative"),
        (optim.clip_norm >= 0, f"optim.clip_norm={optim.clip_norm} must not be negative; 0 turns it off"),
        (train.batch_size >= 2, f"train.batch_size={train.batch_size}: a single pair has no negatives; take 2 or more"),
        (train.epochs > 0, f"train.epochs={train.epochs} must be above 0"),
        (train.eval_every_epochs > 0, f"train.eval_every_epochs={train.eval_every_epochs} must be above 0"),
        (train.checkpoint_every_steps >= 0, f"train.checkpoint_every_steps={train.checkpoint_every_steps} < 0"),
        (train.keep_checkpoints >= 1, f"train.keep_checkpoints={train.keep_checkpoints} must be 1 or more"),
        (train.log_every_steps >= 1, f"train.log_every_steps={train.log_every_steps} must be 1 or more"),
        (evaluation.batch_size >= 1, f"eval.batch_size={evaluation.batch_size} must be 1 or more"),
        (len(evaluation.ks) > 0 and all(k >= 1 for k in evaluation.ks), f"eval.ks={evaluation.ks}: K starts at 1"),
    ]  # fmt: skip
    for domain in ("sketch", "photo"):
        views = getattr(augment, f"{domain}_views")
        known = len(views) == 2 and all(v in ("a0", "a1", "a2") for v in views)
        rules.append((known, f"augment.{domain}_views={views} must name two of a0, a1, a2: anchor, augmented"))
    return [message for ok, message in rules if not ok]


def _one_of(name: str, value: str, known: tuple[str, ...]) -> tuple[bool, str]:
    return value in known, f"{name}={value!r} is not known; choose one of {', '.join(known)}"
