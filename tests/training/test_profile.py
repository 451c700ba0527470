import jax
import jax.numpy as jnp

from effnet_jax.runs.state import TrainState
from effnet_jax.training.profile import profiled


def step(state, batch):
    params = {"w": state.params["w"] + batch["x"]}
    return TrainState(step=state.step + 1, params=params, opt_state=()), {"loss": params["w"]}


def run(steps, workdir, start=0, last=4):
    state = TrainState(step=jnp.int32(start), params={"w": jnp.float32(start)}, opt_state=())
    with profiled(jax.jit(step), steps, start, workdir / "profile") as train_step:
        for _ in range(start, last):
            state, _ = train_step(state, {"x": jnp.float32(1)})
    assert (int(state.step), float(state.params["w"])) == (last, last)
    return list((workdir / "profile").rglob("*.xplane.pb"))


def test_the_asked_steps_leave_a_trace(tmp_path):
    (trace,) = run((2, 3), tmp_path)
    assert trace.stat().st_size > 1000


def test_none_is_made_unless_asked_or_when_they_are_behind(tmp_path):
    assert run((0, 0), tmp_path) == []
    assert run((1, 2), tmp_path, start=2) == []


def test_a_run_that_ends_or_resumes_inside_them_leaves_what_there_is(tmp_path):
    assert len(run((3, 9), tmp_path / "ends")) == 1
    assert len(run((1, 3), tmp_path / "resumes", start=1)) == 1
