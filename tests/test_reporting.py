"""Which checkpoints a report is on: each once, with all the rules that came to it."""

from types import SimpleNamespace

import pytest

from effnet_jax.config import ConfigError
from effnet_jax.reporting import choose


class Checkpoints:
    def __init__(self, **chosen):
        self._chosen = chosen

    def latest(self):
        return self._chosen.get("last")

    def chosen(self, rule):
        return (rule, self._chosen[rule]) if rule in self._chosen else None


def chosen(total=30, *, validation=True, asked=True, **steps):
    splits = {"test": None} | ({"validation": SimpleNamespace(photo_ids=("a", "b"), drawn=False)} if validation else {})
    config = SimpleNamespace(eval=SimpleNamespace(best_on_test=asked, split="test"))
    run = SimpleNamespace(folder="runs/x")
    return choose(SimpleNamespace(total_steps=total, splits=splits, config=config, run=run), Checkpoints(**steps))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((30, 20, 10), {30: ["last"], 20: ["best_on_validation"], 10: ["best_on_test"]}),
        ((30, 30, 30), {30: ["last", "best_on_validation", "best_on_test"]}),
        ((30, 20, 30), {30: ["last", "best_on_test"], 20: ["best_on_validation"]}),
        ((30, 20, 20), {30: ["last"], 20: ["best_on_validation", "best_on_test"]}),
    ],
)
def test_a_checkpoint_is_evaluated_once_whatever_rules_come_to_it(steps, expected):
    found = chosen(**dict(zip(("last", "best_on_validation", "best_on_test"), steps, strict=True)))
    assert {step: list(rules) for step, rules in found.items()} == expected
    assert found[steps[2]]["best_on_test"] == "best on test (optimistic)"
    assert found[steps[1]]["best_on_validation"] == "best on validation (MRR, 2 photos)"


@pytest.mark.usefixtures("unchecked")
def test_a_run_that_was_stopped_says_so_and_the_test_set_chooses_only_where_asked():
    assert chosen(asked=False, last=12) == {12: {"last": "latest, run stopped before its 30 steps"}}
    assert chosen(asked=False, validation=False) == {}
    with pytest.raises(ConfigError, match="no checkpoint of runs/x was measured on the test set"):
        chosen(last=12)
