"""Which checkpoint is meant: the same answer for everybody who asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effnet_jax.runs.choice import BEST, LAST, MEASURED, ON_TEST, ON_VALIDATION, STEP, Choice, measured_by, scalar_name

MRR, ACCURACY = (scalar_name(*MEASURED[rule]) for rule in (ON_VALIDATION, ON_TEST))
SAVED = {10: {MRR: 40.0}, 20: {MRR: 60.0, ACCURACY: 30.0}, 30: {MRR: 60.0}, 40: {}}


@pytest.mark.parametrize(
    ("asked", "rule", "steps"),
    [
        ("last", LAST, [40, 30, 20, 10]),
        ("best_on_validation", ON_VALIDATION, [30, 20, 10]),  # of equal ones the later
        ("best_on_test", ON_TEST, [20]),
        ("20", STEP, [20]),
        (20, STEP, [20]),
        (21, STEP, []),
    ],
)
def test_each_choice_comes_to_its_checkpoint(asked, rule, steps):
    assert Choice.of(asked).candidates(SAVED, SAVED.get) == [(rule, step) for step in steps]


def test_best_comes_to_the_last_behind_all_that_were_measured_and_says_so():
    measured = [(ON_VALIDATION, step) for step in (30, 20, 10)]
    assert Choice.of("best").candidates(SAVED, SAVED.get) == [*measured, (LAST, 40)]


def test_best_is_the_last_where_nothing_was_held_out_and_says_so():
    measured = {1: {}, 2: {ACCURACY: 9.0}}
    assert Choice.of(BEST).candidates(measured, measured.get) == [(LAST, 2), (LAST, 1)]


def test_figures_on_drawings_have_a_name_of_their_own_and_choose_as_well():
    drawn = scalar_name(*MEASURED[ON_VALIDATION], drawn=True)
    assert drawn == "eval/drawn_validation/mrr" != MRR
    saved = {1: {drawn: 50.0}, 2: {drawn: 40.0}}
    assert Choice(ON_VALIDATION).candidates(saved, saved.get) == [(ON_VALIDATION, 1), (ON_VALIDATION, 2)]
    assert measured_by(ON_VALIDATION, {drawn: 50.0, MRR: 60.0}) == 60.0
    assert measured_by(ON_TEST, {drawn: 50.0}) is None


def test_the_last_is_found_without_reading_what_was_measured():
    def read(step):
        raise AssertionError(f"step {step} was read")

    assert Choice(LAST).candidates((1, 2), read)[0] == (LAST, 2)


@pytest.mark.parametrize("nonsense", ["worst", "", "-3", -3, 2.5, True, None])
def test_anything_else_is_refused_with_what_there_is(nonsense):
    with pytest.raises(ValueError, match="choose best, last, best_on_validation, best_on_test, or a step"):
        Choice.of(nonsense)


@given(st.dictionaries(st.integers(0, 50), st.dictionaries(st.sampled_from([MRR, ACCURACY]), st.floats(0, 100))))
def test_no_measured_checkpoint_is_better_than_the_chosen_one(measured):
    for rule, name in ((ON_VALIDATION, MRR), (ON_TEST, ACCURACY)):
        found = [step for _, step in Choice(rule).candidates(measured, measured.get)]
        assert sorted(found) == sorted(step for step in measured if name in measured[step])
        assert all(measured[found[0]][name] >= measured[step][name] for step in found)
