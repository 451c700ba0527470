import os
import signal
from contextlib import nullcontext

import jax
import numpy as np
import pytest

from effnet_jax.runtime import interrupt as module
from effnet_jax.runtime.interrupt import STEPS_BEHIND, STOP, Interrupt, StopVote
from effnet_jax.runtime.sharding import make_mesh


@pytest.fixture
def several_hosts(monkeypatch):
    monkeypatch.setattr(module.jax, "process_count", lambda: 2)


def test_one_host_stops_at_once_and_says_nothing_in_its_batches():
    with Interrupt() as interrupt:
        vote = StopVote(interrupt, make_mesh(1))
        assert vote.ballot() == {}
        assert vote.decided({"loss": jax.numpy.ones(())})[0] is False
        os.kill(os.getpid(), signal.SIGTERM)
        stopping, scalars = vote.decided({"loss": jax.numpy.ones(())})
        assert stopping
        assert set(scalars) == {"loss"}


def test_a_vote_counts_some_steps_later_whoever_cast_it(several_hosts):
    with Interrupt() as interrupt:
        vote = StopVote(interrupt, make_mesh(1))
        np.testing.assert_array_equal(vote.ballot()[STOP], [0])
        sums = [0, 0, 1, 2, 2, 2]  # what the steps add up over all devices; this host was not asked
        decided = [vote.decided({"loss": jax.numpy.ones(()), STOP: jax.numpy.int32(n)}) for n in sums]
        first = sums.index(1) + STEPS_BEHIND
        assert [stopping for stopping, _ in decided] == [step >= first for step in range(len(sums))]
        assert all(set(scalars) == {"loss"} for _, scalars in decided)
        os.kill(os.getpid(), signal.SIGINT)
        np.testing.assert_array_equal(vote.ballot()[STOP], [1])


def test_a_second_ctrl_c_is_not_polite_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_sigterm_stops_at_once_where_it_is_asked_for():
    for insist in ((signal.SIGINT,), (signal.SIGINT, signal.SIGTERM)):
        with Interrupt(insist) as interrupt:
            os.kill(os.getpid(), signal.SIGTERM)
            assert interrupt.requested
            with pytest.raises(KeyboardInterrupt) if signal.SIGTERM in insist else nullcontext():
                os.kill(os.getpid(), signal.SIGTERM)
