"""What a configuration must hold to, beyond the types of its fields."""

import dataclasses
from typing import get_args

from effnet_jax.config import PHOTOS, Config, EvalProtocol, ModelConfig, PenConfig, ViewName
from effnet_jax.models.backbone import size_problem
from effnet_jax.models.mstr import recycling_problem
from effnet_jax.models.presets import BACKBONES, HAS_BATCH_NORMS, preset_of

# The blurs need a width, and the edges a threshold, above zero; an edge begins where it would go on, or higher.
_PEN_ABOVE = {"edge_scale": 0.3, "edge_threshold": 0.001, "edge_hysteresis": 1.0, "thickness": 0.3, "bend_width": 2.0}

_OF_TRSM, _OF_PATCHES = {"rerank", "all_pairs", "fused_rerank", "fused", "paired"}, {"late", "late_rerank"}


def impossible(config: Config) -> list[str]:
    """List what cannot be run, with the values and the way out."""
    data, augment, model, trsm, loss, optim, train, evaluation = (
        config.data, config.augment, config.model, config.trsm, config.loss, config.optim, config.train, config.eval,
    )  # fmt: skip
    preset = BACKBONES.get(model.backbone)
    width = preset_of(model).width if preset else 0
    rules = [
        (preset is not None, f"model.backbone={model.backbone!r} is not known; choose one of {', '.join(BACKBONES)}"),
        (0 <= data.validation_share <= 0.5, f"data.validation_share={data.validation_share} must lie in 0..0.5"),
        (len(data.mean) == 3 == len(data.std), f"data.mean={data.mean} and data.std={data.std} need three numbers"),
        (all(s > 0 for s in data.std), f"data.std={data.std} must be above 0"),
        (0 < data.unpaired_share < 1,
         f"data.unpaired_share={data.unpaired_share} must lie between 0 and 1; for no real sketch take "
         "configs/photos_only.py"),
        (data.split_seed >= 0, f"data.split_seed={data.split_seed} must not be negative"),
        (train.seed >= 0, f"train.seed={train.seed} must not be negative"),
        (0 < optim.layer_decay <= 1, f"optim.layer_decay={optim.layer_decay} must lie in (0, 1]"),
        (optim.layer_decay == 1 or (_is_vit(model) and not trsm.enabled),
         f"optim.layer_decay={optim.layer_decay} goes by the blocks of a ViT that is trained, in stage 1"),
        (0 <= optim.b1 < 1 and 0 <= optim.b2 < 1, f"optim.b1={optim.b1} and optim.b2={optim.b2} must lie in [0, 1)"),
        (optim.kernel_rate > 0, f"optim.kernel_rate={optim.kernel_rate} must be above 0"),
        (optim.eps > 0, f"optim.eps={optim.eps} must be above 0"),
        (data.workers >= 0, f"data.workers={data.workers} must not be negative"),
        (len(augment.fill) == 3 and all(0 <= f <= 255 for f in augment.fill),
         f"augment.fill={augment.fill} needs three numbers in 0..255"),
        (0 <= augment.mirror <= 1, f"augment.mirror={augment.mirror} is a probability, 0..1"),
        (not augment.other_sketch or loss.intra_sketch > 0,
         "augment.other_sketch gives the augmented view of a sketch, which only the term loss.intra_sketch looks at"),
        (0 <= augment.redraw <= 1, f"augment.redraw={augment.redraw} is a share, 0..1"),
        (0 <= augment.mirror_pairs <= 1, f"augment.mirror_pairs={augment.mirror_pairs} is a probability, 0..1"),
        (0 <= augment.crop_mirror <= 1, f"augment.crop_mirror={augment.crop_mirror} is a probability, 0..1"),
        (len(augment.crop_area) == 2 and 0 < augment.crop_area[0] <= augment.crop_area[1] <= 1,
         f"augment.crop_area={augment.crop_area} needs 0 < low <= high <= 1"),
        (len(augment.crop_ratio) == 2 and 0 < augment.crop_ratio[0] <= augment.crop_ratio[1],
         f"augment.crop_ratio={augment.crop_ratio} needs 0 < low <= high"),
        (len(augment.jitter) == 4 and all(0 <= j <= 1 for j in augment.jitter[:3]) and 0 <= augment.jitter[-1] <= 0.5,
         f"augment.jitter={augment.jitter} needs three of 0..1 and one of 0..0.5"),
        (0 <= augment.max_angle <= 180, f"augment.max_angle={augment.max_angle} must lie in 0..180 degrees"),
        (min(model.width, model.depth, model.heads) >= 0,
         f"model.width={model.width}, model.depth={model.depth} and model.heads={model.heads} must not be negative"),
        (0 <= model.drop_path < 1, f"model.drop_path={model.drop_path} is a rate, 0 or more and below 1"),
        (model.embedding_size > 0, f"model.embedding_size={model.embedding_size} must be above 0"),
        (bool(model.weights), "model.weights is empty; give a file, timm/NAME.TAG, none, or auto"),
        (loss.temperature > 0, f"loss.temperature={loss.temperature} must be above 0"),
        (min(loss.multi, loss.intra_sketch, loss.intra_photo, loss.inter, loss.late, loss.decorrelation) >= 0
         and max(loss.multi, loss.intra_sketch, loss.intra_photo, loss.inter) > 0,
         "the weights in loss must not be negative, and one of them must be above 0"),
        (loss.multi > 0, "loss.multi=0 would leave the head untrained, whose embedding retrieval compares"),
        (loss.block_pairs >= 0, f"loss.block_pairs={loss.block_pairs} must not be negative; 0 compares all at once"),
        (optim.learning_rate > 0, f"optim.learning_rate={optim.learning_rate} must be above 0"),
        (optim.warmup_steps >= 0, f"optim.warmup_steps={optim.warmup_steps} must not be negative"),
        (optim.weight_decay >= 0, f"optim.weight_decay={optim.weight_decay} must not be negative"),
        (optim.clip_norm >= 0, f"optim.clip_norm={optim.clip_norm} must not be negative; 0 turns it off"),
        (train.batch_size >= 2, f"train.batch_size={train.batch_size}: a single pair has no negatives; take 2 or more"),
        (train.micro_batch_size >= 0 and (not train.micro_batch_size or train.batch_size % train.micro_batch_size == 0),
         f"train.batch_size={train.batch_size} must be a multiple of train.micro_batch_size={train.micro_batch_size}"),
        (not (train.micro_batch_size and trsm.enabled),
         f"train.micro_batch_size={train.micro_batch_size}: the encoders of stage 2 are frozen and keep nothing "
         "for a gradient; leave it 0, and lower train.batch_size if the memory is short"),
        (not (train.micro_batch_size and preset is not None and preset.batch_norms),
         f"train.micro_batch_size={train.micro_batch_size}: {model.backbone} {HAS_BATCH_NORMS}; leave it 0"),
        (not (train.micro_batch_size and model.recycling_as_published),
         f"train.micro_batch_size={train.micro_batch_size}: model.recycling_as_published mixes the rows of the whole "
         "batch; leave it 0"),
        (train.epochs > 0, f"train.epochs={train.epochs} must be above 0"),
        (not (train.centring and trsm.enabled),
         "train.centring takes means off embeddings, and stage 2 scores pairs by their tokens; set it to False"),
        (not (train.centring and model.recycling_as_published),
         "train.centring takes means of embeddings, and with model.recycling_as_published these depend on the batch"),
        (train.group == 0 or 1 < train.group <= _paired_rows(config),
         f"train.group={train.group} must be 0, or 2..{_paired_rows(config)}, the sketches of a batch"),
        (not (train.group and model.recycling_as_published),
         "train.group compares embeddings, and with model.recycling_as_published these depend on the batch"),
        (0 <= train.average < 1, f"train.average={train.average} must lie in [0, 1)"),
        (train.max_steps >= 0, f"train.max_steps={train.max_steps} must not be negative; 0 sets no limit"),
        (train.eval_every_epochs > 0, f"train.eval_every_epochs={train.eval_every_epochs} must be above 0"),
        (train.checkpoint_every_steps >= 0, f"train.checkpoint_every_steps={train.checkpoint_every_steps} < 0"),
        (train.keep_checkpoints >= 1, f"train.keep_checkpoints={train.keep_checkpoints} must be 1 or more"),
        (train.log_every_steps >= 1, f"train.log_every_steps={train.log_every_steps} must be 1 or more"),
        (0 <= trsm.dropout < 1, f"trsm.dropout={trsm.dropout} must lie in [0, 1)"),
        (trsm.start != "encoder" or not model.token_recycling,
         "trsm.start='encoder' takes the encoder's head on the CLS token, and with model.token_recycling it stands on "
         "recycled tokens; take trsm.start='random'"),
        (trsm.heads > 0 and (not trsm.enabled or width % trsm.heads == 0),
         f"the token width {width} must be a multiple of trsm.heads={trsm.heads}"),
        (not trsm.enabled or model.pooling in ("", "cls"),
         f"TRSM reads the CLS token, which model.pooling={model.pooling} does not train; train stage 1 with cls"),
        (not trsm.enabled or preset is None or preset.pooling == "cls",
         f"TRSM needs a CLS token and patch tokens, which {model.backbone} does not have; take a vit_* backbone"),
        (config.init_from or not trsm.enabled,
         "stage 2 (trsm.enabled) needs init_from, the folder of the stage-1 run: --config.init_from=runs/..."),
        (trsm.enabled or not config.init_from or model.weights in ("auto", "none"),
         f"init_from={config.init_from!r} and model.weights={model.weights!r} both say where to start; give one of "
         "them: --config.model.weights=none, or --config.init_from="),
        (evaluation.split != "validation" or _holds_out(config),
         "eval.split='validation' needs held-out photos: --config.data.validation_share=0.25, say"),
        (len(evaluation.protocols) > 0, f"eval.protocols=() must name some of {', '.join(get_args(EvalProtocol))}"),
        (evaluation.shortlist >= 1, f"eval.shortlist={evaluation.shortlist} must be 1 or more"),
        (evaluation.paired_shuffles >= 2, f"eval.paired_shuffles={evaluation.paired_shuffles} must be 2 or more"),
        (evaluation.batch_size >= 1, f"eval.batch_size={evaluation.batch_size} must be 1 or more"),
        (len(evaluation.ks) > 0 and all(k >= 1 for k in evaluation.ks), f"eval.ks={evaluation.ks}: K starts at 1"),
    ]  # fmt: skip
    steps = config.log.profile_steps
    traced = len(steps) == 2 and (tuple(steps) == (0, 0) or 1 <= steps[0] <= steps[1])
    rules.append((traced, f"log.profile_steps={steps} needs a first and a last step, such as (10,12), or (0,0)"))
    for domain in ("sketch", "photo"):
        views = getattr(augment, f"{domain}_views")
        known = ", ".join(get_args(ViewName))
        rules.append((len(views) == 2, f"augment.{domain}_views={views} must name two of {known}: anchor, augmented"))
    rules += _pen(config.pen)
    rules += _protocols(config)
    rules += _architecture(model)
    return [message for ok, message in rules if not ok]


def _protocols(config: Config) -> list[tuple[bool, str]]:
    """Give the rules of what scores pairs."""
    asked, late = {*config.eval.protocols}, config.late
    return [
        (config.trsm.enabled or not asked & _OF_TRSM,
         f"eval.protocols={config.eval.protocols}: without TRSM there are only encoder, late and late_rerank"),
        (not asked & _OF_PATCHES or _is_vit(config.model),
         f"eval.protocols={config.eval.protocols}: late interaction compares the patches of a ViT, and "
         f"model.backbone={config.model.backbone} is none: --config.eval.protocols=\"('encoder',)\""),
        (not config.loss.late or _is_vit(config.model),
         f"loss.late={config.loss.late} compares the patches of a ViT, and model.backbone={config.model.backbone} is "
         "none: --config.loss.late=0.0"),
        (not (config.loss.late and config.trsm.enabled),
         f"loss.late={config.loss.late} is a term of stage 1, and the encoders of stage 2 are frozen; set it to 0"),
        (not (config.loss.late and config.train.micro_batch_size),
         f"loss.late={config.loss.late} compares the patches of all pairs of a batch, which "
         f"train.micro_batch_size={config.train.micro_batch_size} does not keep; set one of them to 0"),
        (0 <= config.trsm.weight <= 1, f"trsm.weight={config.trsm.weight} must lie in 0..1"),
        (not config.trsm.choose_weight or _holds_out(config),
         "trsm.choose_weight needs held-out photos: --config.data.validation_share=0.25, say"),
        (not late.choose_weight or _is_vit(config.model),
         f"late.choose_weight compares the patches of a ViT, and model.backbone={config.model.backbone} is none"),
        (not late.choose_weight or _holds_out(config),
         "late.choose_weight needs held-out photos with sketches: --config.data.validation_share=0.25, say"),
        (late.window >= 0, f"late.window={late.window} must not be negative; 0 looks all over the photo"),
        (0 <= late.ink < 255, f"late.ink={late.ink} is a darkness, 0..255"),
        (0 <= late.weight <= 1, f"late.weight={late.weight} must lie in 0..1"),
        (late.scale > 0, f"late.scale={late.scale} must be above 0"),
    ]  # fmt: skip


def _holds_out(config: Config) -> bool:
    return config.data.validation_share > 0 and config.data.name != PHOTOS


def _paired_rows(config: Config) -> int:
    """Count the sketches of a batch that are no drawings of unpaired photos, at the least."""
    data, rows = config.data, config.train.batch_size
    return int(rows * (1 - data.unpaired_share)) if data.unpaired_photos and data.name != PHOTOS else rows


def _is_vit(model: ModelConfig) -> bool:
    preset = BACKBONES.get(model.backbone)
    return preset is None or preset.family == "vit"  # an unknown one has its own message


def _pen(pen: PenConfig) -> list[tuple[bool, str]]:
    """Give the rules of the pen: what lies between two numbers, and what is a size or a share."""
    rules = []
    for field in dataclasses.fields(PenConfig):
        value, least = getattr(pen, field.name), _PEN_ABOVE.get(field.name, 0.0)
        if isinstance(value, tuple):
            rising = len(value) == 2 and least <= value[0] <= value[1]
            rules.append((rising, f"pen.{field.name}={value} needs two numbers, {least:g} <= low <= high"))
        else:
            rules.append((value >= 0, f"pen.{field.name}={value} must not be negative"))
    for name in ("stroke_loss", "darkness"):
        value = getattr(pen, name)
        rules.append((all(share <= 1 for share in value), f"pen.{name}={value} is a share, 0..1"))
    return rules


def _architecture(model: ModelConfig) -> list[tuple[bool, str]]:
    """Give the rules of the backbone that was chosen; none for an unknown one, which has its own message."""
    preset = BACKBONES.get(model.backbone)
    if preset is None:
        return []
    name, rules = model.backbone, []
    for field in dataclasses.fields(ModelConfig):
        if field.name in ("width", "depth", "heads", "patch_size", "stem", "attention", "drop_path", "remat"):
            value = getattr(model, field.name)
            known = field.name in preset.adjustable or value == field.default
            own = ", ".join(preset.adjustable) or "none of such fields"
            rules.append((known, f"model.{field.name}={value!r} has no meaning for {name}, which has {own}"))
    width, heads = preset_of(model).width, preset_of(model).heads
    rules.append((
        preset.heads == 0 or heads <= 0 or width % heads == 0,
        f"the token width {width} must be a multiple of the number of heads {heads} (model.width, model.heads)",
    ))  # fmt: skip
    if preset.least:
        problem = size_problem(name, model.image_size, least=preset.least, multiple=preset.multiple)
        rules.append((not problem, f"{problem} (model.image_size)"))
    else:
        whole = model.patch_size > 0 and model.image_size > 0 and model.image_size % max(model.patch_size, 1) == 0
        rules.append((
            whole,
            f"model.image_size={model.image_size} must be a positive multiple of model.patch_size={model.patch_size}",
        ))  # fmt: skip
        halves = model.stem != "conv" or (model.patch_size >= 2 and model.patch_size.bit_count() == 1)
        rules.append((halves, f"model.patch_size={model.patch_size} must be a power of 2 above 1 for model.stem=conv"))
    for field in ("recycling_heads", "recycling_hidden", "recycling_as_published"):
        rules.append((
            model.token_recycling or getattr(model, field) == getattr(ModelConfig, field),
            f"model.{field}={getattr(model, field)!r} has no meaning without model.token_recycling",
        ))  # fmt: skip
    if model.token_recycling:
        rules.append((
            preset.pooling == "cls" and model.pooling in ("", "cls"),
            f"model.token_recycling mixes patch tokens into a CLS token: take a vit_* backbone with pooling cls, "
            f"not {name} with {model.pooling or preset.pooling}",
        ))  # fmt: skip
        edge = model.image_size // max(model.patch_size, 1)
        problem = recycling_problem(width, edge, model.recycling_heads, as_published=model.recycling_as_published)
        own = f"recycling_heads={model.recycling_heads}, recycling_as_published={model.recycling_as_published}"
        rules.append((not problem, f"model.token_recycling ({own}): {problem}"))
        rules.append((model.recycling_hidden > 0, f"model.recycling_hidden={model.recycling_hidden} must be above 0"))
    rules.append((
        model.pooling != "cls" or preset.pooling == "cls",
        f"model.pooling='cls' needs a CLS token, which {name} does not have; its own is {preset.pooling}",
    ))  # fmt: skip
    return rules
