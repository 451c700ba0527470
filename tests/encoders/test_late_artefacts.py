"""Late interaction outside: three artefacts that give what the run's own scorer gives."""

import dataclasses
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from tiny import draw_pair, tiny_encoders

from effnet_jax.config import LateConfig
from effnet_jax.encoders.late_artefacts import FILES, export_late
from effnet_jax.images.preprocessing import resize
from effnet_jax.retrieval.scores import mix, unit_rows
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages.late_scorer import InkedTokens, LateScorer
from effnet_jax.weights.errors import WeightsError

ALONE = """
    import sys
    import numpy as np
    from jax import export
    load = lambda name: export.deserialize(open(name, "rb").read()).call
    sketches, photos = np.load("sketches.npy"), np.load("photos.npy")
    scores = load("pair_scores.stablehlo")(*load("sketch_patches.stablehlo")(sketches), *load("photo_patches.stablehlo")(photos))
    np.save("scores.npy", scores)
    assert not [name for name in sys.modules if name.startswith(("effnet_jax", "flax"))]
"""  # noqa: E501


def test_scores_without_this_package_are_ours(tmp_path):
    late = LateConfig(window=1.5, weight=0.6, scale=3.0)
    encoders = dataclasses.replace(tiny_encoders(image_size=64, shared_encoders=False), late=late)
    made = export_late(encoders, tmp_path)
    assert tuple(made) == FILES and all(entry["off_by_at_most"] <= 1e-5 for entry in made.values())
    photos, sketches = (
        np.stack([resize(np.asarray(pair[side].convert("RGB")), 64) for pair in map(draw_pair, rows)])
        for side, rows in ((0, range(7)), (1, range(3)))
    )
    np.save(tmp_path / "photos.npy", photos)
    np.save(tmp_path / "sketches.npy", sketches)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ALONE)], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_DEFAULT_MATMUL_PRECISION": "float32"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    embeddings, tokens = encoders.embed_photos_with_tokens(photos)
    scorer = LateScorer(encoders.config, late, make_mesh())
    inked = InkedTokens(encoders.sketch_tokens(sketches).astype(np.float32), sketches, 16, late.ink)
    ((_, scores),) = scorer.all_pairs(inked, tokens.astype(np.float32))
    expected = mix(unit_rows(encoders.embed_sketches(sketches)) @ embeddings.T, scores, late.weight, late.scale)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected, atol=2e-3)  # tokens pass in float16
    assert np.ptp(expected) > 0.05


def test_encoders_without_patches_are_refused(tmp_path):
    encoders = tiny_encoders()
    encoders = dataclasses.replace(encoders, config=dataclasses.replace(encoders.config, backbone="resnet18"))
    with pytest.raises(WeightsError, match="patches of a ViT, and this run is of resnet18"):
        export_late(encoders, tmp_path)
    assert not list(tmp_path.iterdir())
