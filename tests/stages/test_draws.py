"""No two draws of a row share a key."""

from effnet_jax.stages.draws import ANCHOR, AUGMENTED, DOMAINS, IN_ENCODER, IN_TRSM, PAIR, VIEW


def test_every_number_stands_for_one_thing():
    numbers = [*VIEW.values(), *IN_ENCODER.values(), *IN_TRSM.values(), PAIR]
    assert len(numbers) == len(set(numbers)) == 11


def test_stage_one_draws_what_it_always_drew():
    """Checkpoints of before go on with the same augmentation, bit for bit."""
    views = [(domain, view) for domain in DOMAINS for view in (ANCHOR, AUGMENTED)]
    assert [VIEW[view] for view in views] == [0, 1, 2, 3]
    assert [IN_ENCODER[view] for view in views] == [4, 5, 6, 7]
