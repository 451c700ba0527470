"""All that is trained starts with the types that a step gives back."""

import jax
import pytest

from effnet_jax import make_functional
from effnet_jax.config import Config, LossConfig, ModelConfig
from effnet_jax.models.presets import BACKBONES
from effnet_jax.models.trsm import make_functional_trsm
from effnet_jax.runs.state import make_state
from effnet_jax.stages.alignment.alignment_objective import init_variables
from effnet_jax.stages.trsm.trsm_objective import init_trsm_variables
from effnet_jax.training.optim import make_optimizer

LEARNED = Config(loss=LossConfig(learn_temperature=True))


def weakly_typed(make):
    """The first step gives strong types back: with a weak one before it, the step would be compiled twice."""
    state = jax.eval_shape(lambda: make_state(make(), make_optimizer(LEARNED.optim, 10)))
    return [jax.tree_util.keystr(path) for path, x in jax.tree_util.tree_leaves_with_path(state) if x.weak_type]


@pytest.mark.parametrize("name", [*BACKBONES, "recycling"])
def test_encoders(name):
    preset = BACKBONES.get(name)
    changes = {"backbone": name, "image_size": preset.least or 32} if preset else {"token_recycling": True}
    depth = 1 if preset is None or "depth" in preset.adjustable else 0
    model = make_functional(ModelConfig(depth=depth, shared_encoders=True, **changes))
    assert weakly_typed(lambda: init_variables(model, LEARNED, jax.random.key(0))) == []


def test_trsm():
    trsm = make_functional_trsm(LEARNED.model, LEARNED.trsm)
    assert weakly_typed(lambda: init_trsm_variables(trsm, LEARNED, jax.random.key(0))) == []
