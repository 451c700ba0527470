"""What a stage-1 step costs."""

from effnet_jax.config import Config
from effnet_jax.models.presets import preset_of
from effnet_jax.training.flops import image_flops


def step_flops(config: Config) -> float:
    """Count the floating-point operations of one stage-1 training step, all devices together.

    What is counted is what the method needs: forward and backward passes of the encoders for every view. Recomputation
    (model.remat, train.micro_batch_size) is not, so it lowers the share of the peak, as it should.
    """
    views = sum(2 if weight else 1 for weight in (config.loss.intra_sketch, config.loss.intra_photo))
    return views * config.train.batch_size * image_flops(config.model) + _late_flops(config)


def _late_flops(config: Config) -> float:
    """Every patch of each sketch with every patch of each photo of the batch, and twice as much backward."""
    if not config.loss.late:
        return 0.0
    patches = (config.model.image_size // config.model.patch_size) ** 2
    return 3 * 2 * (config.train.batch_size * patches) ** 2 * preset_of(config.model).width
