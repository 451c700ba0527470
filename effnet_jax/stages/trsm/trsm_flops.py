"""What a stage-2 step costs."""

import jax
import jax.numpy as jnp

from effnet_jax.config import Config
from effnet_jax.models.effnet import make_functional
from effnet_jax.models.trsm import FunctionalTRSM
from effnet_jax.stages.trsm.trsm_objective import TOKENS, init_trsm_variables, make_trsm_objective, uses_augmented_view
from effnet_jax.training.flops import BACKWARD, image_flops, lowered_flops


def trsm_step_flops(config: Config, trsm: FunctionalTRSM, encoded: int) -> float:
    """Count the operations of one stage-2 training step: forward passes of the frozen encoders, and what XLA counts in
    the gradient of TRSM, before any optimisation.

    Args:
        config: of the run.
        trsm: the module.
        encoded: views of a pair that go through the encoders at every step, those that are not held in memory.
    """
    b, size = config.train.batch_size, config.model.image_size
    model = make_functional(config.model)
    params, stats = jax.eval_shape(model.init, jax.random.key(0)), jax.eval_shape(model.init_batch_stats)
    images = jax.ShapeDtypeStruct((b, size, size, 3), jnp.float32)
    tokens = jax.eval_shape(model.encode_photos, params, images, stats).tokens
    names = TOKENS if uses_augmented_view(config) else TOKENS[:2]
    batch = dict.fromkeys(names, jax.ShapeDtypeStruct(tokens.shape, tokens.dtype))
    batch |= {"photo_index": jax.ShapeDtypeStruct((b,), jnp.int32), "position": jax.ShapeDtypeStruct((b,), jnp.uint32)}
    gradient = jax.jit(jax.grad(make_trsm_objective(config, trsm), has_aux=True))
    key = jax.random.key(0, impl="threefry2x32")
    variables = jax.eval_shape(lambda: init_trsm_variables(trsm, config, key))
    frozen = encoded * b * image_flops(config.model) / (1 + BACKWARD)
    return frozen + lowered_flops(gradient.lower(*variables, batch, key))
