import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.sharding import make_mesh, replicated
from effnet_jax.training.checkpoints import Checkpoints, abstract
from effnet_jax.training.state import TrainState


def state(step, width=3):
    return TrainState(
        step=jnp.int32(step),
        params={"blocks": {0: {"kernel": jnp.full((2, width), step, jnp.float32)}, 1: {"kernel": jnp.zeros(1)}}},
        opt_state=(jnp.float32(step), None),
    )


def whole():
    return replicated(make_mesh(1))


def test_round_trip_keeps_the_last_and_the_best(tmp_path):
    scores = {1: 10.0, 2: 30.0, 3: 20.0, 4: 5.0, 5: 1.0}
    with Checkpoints(tmp_path, keep=2, best_by=("mrr",)) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(state(step), {"model": {"width": 3}}, {"mrr": score})
        checkpoints.wait()
        assert checkpoints.latest() == 5
        assert checkpoints.best("mrr") == 2
        assert checkpoints.best("acc") is None
    kept = sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit())
    assert kept == [2, 4, 5]
    with Checkpoints(tmp_path, keep=2, best_by=("mrr",)) as checkpoints:
        got = checkpoints.restore(2, abstract(state(0), whole()))
    jax.tree.map(np.testing.assert_array_equal, got, state(2))
    assert got.params["blocks"][0]["kernel"].sharding == whole()


def test_saves_without_metrics_do_not_count_as_best(tmp_path):
    with Checkpoints(tmp_path, keep=1, best_by=("mrr",)) as checkpoints:
        checkpoints.save(state(1), {}, {"mrr": 1.0})
        checkpoints.save(state(2), {}, {})
        checkpoints.wait()
        assert (checkpoints.latest(), checkpoints.best("mrr")) == (2, 1)


def test_saving_a_step_again_is_harmless(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1), {}, {})
        checkpoints.wait()
        checkpoints.save(state(1), {}, {})
        assert checkpoints.latest() == 1


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1), {}, {})
        checkpoints.wait()
        with pytest.raises(ValueError, match=r"/1 does not hold the state of this model"):
            checkpoints.restore(1, abstract(state(0, width=4), whole()))


def test_a_checkpoint_without_batch_statistics_is_still_read(tmp_path):
    import orbax.checkpoint as ocp

    old = {"step": state(1).step, "params": state(1).params, "opt_state": state(1).opt_state}
    with Checkpoints(tmp_path) as checkpoints:
        items = ocp.args.Composite(state=ocp.args.StandardSave(old), about=ocp.args.JsonSave({}))
        checkpoints._manager.save(1, args=items)
        checkpoints.wait()
        got = checkpoints.restore(1, abstract(state(0), whole()))
    assert isinstance(got, TrainState)
    jax.tree.map(np.testing.assert_array_equal, got, state(1))


def test_batch_statistics_are_kept(tmp_path):
    full = TrainState(**{**vars(state(3)), "batch_stats": {"norm": {"mean": jnp.arange(3.0)}}})
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(full, {}, {})
        checkpoints.wait()
        got = checkpoints.restore(3, abstract(full, whole()))
    jax.tree.map(np.testing.assert_array_equal, got, full)
