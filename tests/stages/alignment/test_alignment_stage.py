"""Stage 1 as a whole: what it refuses before it trains."""

from types import SimpleNamespace
from typing import cast

import pytest

from effnet_jax.config import Config, EvalConfig, ModelConfig
from effnet_jax.encoders.encode_program import EncodeProgram
from effnet_jax.experiment import Experiment
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_functional
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages.alignment.alignment_stage import AlignmentStage

PUBLISHED = ModelConfig(
    backbone="vit_tiny", width=48, depth=1, heads=2, weights="none", token_recycling=True, recycling_as_published=True
)


def stage(sketches, photos, size):
    """Stage 1 of a run with so many test pictures, evaluated `size` at a time."""

    def split(s, g):
        return SimpleNamespace(sketch_ids=range(s), photo_ids=range(g))

    pixels = Preprocessing(image_size=PUBLISHED.image_size)
    experiment = SimpleNamespace(
        config=Config(model=PUBLISHED, eval=EvalConfig(batch_size=size)),
        model=make_functional(PUBLISHED),
        preprocessing=pixels,
        splits={"train": split(5, 5), "test": split(sketches, photos)},
        encode_program=lambda: EncodeProgram(PUBLISHED, pixels, make_mesh(1)),
    )
    return AlignmentStage(cast(Experiment, experiment))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("sketches", "photos", "filling"), [(8, 7, 1), (6, 4, 2)])
def test_a_run_whose_test_set_would_be_filled_up_is_refused_before_it_trains(sketches, photos, filling):
    with pytest.raises(ValueError, match=rf"fill one up by {filling} would change .* eval\.batch_size=1"):
        stage(sketches, photos, 4)
    stage(8, 4, 4)
    stage(sketches, photos, 1)
