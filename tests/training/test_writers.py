import json

import jax.numpy as jnp
import pytest

from effnet_jax.training.writers import DivergedError, TrainLog


def log(path, start=0):
    return TrainLog(path / "metrics.jsonl", start_step=start, total_steps=10, batch_size=4, progress=False)


def scalars(loss):
    norms = {"gradient_norm": jnp.float32(1), "parameter_norm": jnp.float32(1)}
    return {"loss": jnp.float32(loss), "inter": jnp.float32(loss / 2), **norms}


def read(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_means_over_the_interval(tmp_path):
    with log(tmp_path) as out:
        for step, loss in enumerate([1.0, 2.0, 3.0], start=1):
            out.add(step, scalars(loss))
        out.flush()
        out.flush()
    (line,) = read(tmp_path)
    assert (line["step"], line["train/loss"], line["train/inter"]) == (3, 2.0, 1.0)
    assert line["train/pairs_per_s"] > 0


def test_operations_a_second_and_their_share_of_the_peak(tmp_path):
    rates = {
        "flops": {"step_flops": 2e12},
        "both": {"step_flops": 2e12, "peak_flops": 8e12},
        "peak": {"peak_flops": 1.0},
    }
    for name, given in rates.items():
        (tmp_path / name).mkdir()
        with TrainLog(
            tmp_path / name / "metrics.jsonl", start_step=0, total_steps=9, batch_size=4, progress=False, **given
        ) as out:
            out.add(1, scalars(1.0))
            out.flush()
    (flops,), (both,), (peak,) = (read(tmp_path / name) for name in rates)
    assert "train/mfu" not in flops
    assert "train/tflops_per_s" not in peak
    assert flops["train/tflops_per_s"] == pytest.approx(2 * flops["train/pairs_per_s"] / 4)
    assert both["train/mfu"] == pytest.approx(both["train/tflops_per_s"] / 8)


def test_a_loss_that_is_not_finite_stops_with_its_step_and_terms(tmp_path):
    with log(tmp_path) as out:
        out.add(1, scalars(1.0))
        out.add(2, scalars(float("nan")))
        out.add(3, scalars(1.0))
        with pytest.raises(DivergedError, match=r"no longer finite at step 2: loss=nan, .*inter=nan"):
            out.flush()


def test_lines_after_the_resumed_step_and_half_lines_are_dropped(tmp_path):
    with log(tmp_path) as out:
        for step in (1, 2, 3):
            out.write(step, {"x": step})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 4, "x"')
    with log(tmp_path, start=2) as out:
        out.write(3, {"x": 33})
    assert [line["x"] for line in read(tmp_path)] == [1, 2, 33]


@pytest.mark.parametrize(
    "damaged", [b"3", b"[]", b'"step"', b'{"step": null}', b"{}", b'{"step": 2, "x": "\xff', b"\0\0"]
)
def test_a_damaged_line_ends_what_a_resume_keeps(tmp_path, damaged):
    whole = b'{"step": 1, "x": 1}\n'
    (tmp_path / "metrics.jsonl").write_bytes(whole + damaged + b"\n" + whole)
    log(tmp_path, start=2).close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def test_tensorboard_events_are_written(tmp_path):
    places = tmp_path / "metrics.jsonl", tmp_path / "tensorboard"
    with TrainLog(*places, start_step=0, total_steps=1, batch_size=1, progress=False) as out:
        out.write(1, {"train/loss": 0.5})
    assert any((tmp_path / "tensorboard").iterdir())
