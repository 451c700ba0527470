"""Several processes over loopback are one run: equal numbers, one stop, one resume, one error."""

import os
import signal
import socket
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from commands import finish, losses, ranks, saved_steps, settings_of, start, start_hosts, train_here, wait_for_step
from tiny import write_pairs

from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runs.state import TrainState
from effnet_jax.runtime import hosts

STEPS = 40


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture(scope="module")
def settings(home):
    data = write_pairs(home / "data", range(24), range(24, 38))
    return settings_of(data, home, train__epochs=STEPS * 8 / 36)


@pytest.fixture(scope="module")
def alone(home, settings):
    train_here(home / "alone", settings)
    return home / "alone"


def check_equal(workdir, alone):
    """Losses of the first 20 steps to 1e-5, of all steps closely, and the same ranks in the report."""
    ours, theirs = losses(workdir), losses(alone)
    assert list(ours) == list(theirs) == list(range(1, STEPS + 1))
    np.testing.assert_allclose([ours[i] for i in range(1, 21)], [theirs[i] for i in range(1, 21)], rtol=1e-5)
    np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-3)
    assert ranks(workdir) == ranks(alone)
    assert len({rank for _, rank in ranks(alone)}) > 5


def test_two_processes_stop_together_when_one_is_asked_and_one_process_goes_on(home, settings, alone):
    workdir = home / "two"
    processes = start_hosts(workdir, settings)
    wait_for_step(workdir, 3, *processes)
    processes[1].send_signal(signal.SIGTERM)  # not the one that writes
    first, second = finish(*processes)
    assert first[0] == second[0] == 130, first[2][-2000:] + second[2][-2000:]
    (saved,) = saved_steps(workdir)
    assert 3 < saved < STEPS
    assert f"stopped at step {saved} of {STEPS}, saved; the same command goes on" in first[2]
    assert "stopped" not in second[2]
    assert max(losses(workdir)) == saved
    train_here(workdir, settings)
    assert saved_steps(workdir) == [saved, STEPS]
    check_equal(workdir, alone)


def test_hosts_with_different_settings_are_refused_on_both(home, settings):
    processes = start_hosts(home / "different", settings, last={"train.seed": 3})
    for i, (status, _, words) in enumerate(finish(*processes)):
        assert status == 1
        assert f"[host {i}] the configuration differs between host 0 and host 1" in words
        assert "Traceback" not in words
    assert not (home / "different").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "devices", "fsdp"), [(1, 8, False), (1, 8, True), (2, 1, True), (2, 2, False), (2, 2, True)]
)
def test_devices_and_hosts_change_nothing(home, settings, alone, count, devices, fsdp):
    workdir, ours = home / f"{count}x{devices}-{fsdp}", settings | {"parallel.fsdp": fsdp}
    processes = [start(workdir, ours, devices=devices)] if count == 1 else start_hosts(workdir, ours, devices=devices)
    for status, _, words in finish(*processes, seconds=500):
        assert status == 0, words[-3000:]
    check_equal(workdir, alone)


@pytest.mark.slow
def test_fake_devices_do_not_deadlock_where_nothing_is_logged(home, settings):
    """On jax before 0.12 some 40 steps that nobody waits for do."""
    ours = settings | {"train.epochs": 150 * 8 / 36, "train.log_every_steps": 1000}
    ((status, _, words),) = finish(start(home / "unwatched", ours, devices=8))
    assert status == 0, words[-3000:]
    assert saved_steps(home / "unwatched") == [150]


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True])
def test_stage_two_is_the_same_on_two_hosts(home, settings, alone, fsdp):
    ours = settings | {
        "init_from": alone, "trsm.enabled": True, "trsm.heads": 2, "train.epochs": 10 * 8 / 36, "optim.warmup_steps": 2,
        "eval.protocols": ("encoder", "rerank", "all_pairs", "paired"), "eval.shortlist": 5, "eval.paired_shuffles": 2,
    }  # fmt: skip
    one = home / "stage2"
    if not one.exists():
        train_here(one, ours)
    two = home / f"stage2-{fsdp}"
    for status, _, words in finish(*start_hosts(two, ours | {"parallel.fsdp": fsdp}, devices=2), seconds=500):
        assert status == 0, words[-3000:]
    np.testing.assert_allclose(list(losses(two).values()), list(losses(one).values()), rtol=1e-5)
    assert len(losses(two)) == 10
    for folder in ("last", "last_rerank", "last_all_pairs", "last_paired"):
        assert ranks(two, folder) == ranks(one, folder)


TALK = """
import sys
import jax
from effnet_jax.runtime import hosts
me = int(sys.argv[2])
hosts.join(coordinator=sys.argv[1], processes=2, process=me)
assert hosts.is_first() == (me == 0)
assert hosts.tell_others(f"I am {me}") == ["I am 0", "I am 1"]
assert hosts.tell_others("") == ["", ""]
assert (hosts.all_hosts(True), hosts.all_hosts(me == 0), hosts.all_hosts(False)) == (True, False, False)
assert hosts.say_to_all("asking", lambda: f"said by {me}") == "said by 0"
hosts.check_same("the weather", "sun")
order = []
assert hosts.first_then_rest("building", lambda: order.append(me) or me) == me and order == [me]
hosts.only_first("writing", lambda: order.append("only"))
assert order == [0, "only"] if me == 0 else order == [1]

def fails_on(host):
    def function():
        if me == host:
            raise OSError("the disk is full")
    return function

def words(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

for host, way in ((0, hosts.first_then_rest), (1, hosts.first_then_rest), (0, hosts.everywhere), (1, hosts.everywhere)):
    said = words(lambda: way("building", fails_on(host)))
    own = "OSError: the disk is full"
    assert said == (own if me == host else f"HostError: building failed on host {host}: {own}"), said
said = words(lambda: hosts.check_same("the weather", f"{me} degrees"))
assert said == "HostError: the weather differs between host 0 and host 1; it must be the same on all.", said
print("heard")
"""


def test_what_hosts_tell_each_other():
    for status, out, words in finish(*two_processes(TALK)):
        assert status == 0, words[-3000:]
        assert "heard" in out


CHOOSE = """
import sys
from pathlib import Path
from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runtime import hosts
hosts.join(coordinator=sys.argv[1], processes=2, process=int(sys.argv[2]))
if not hosts.is_first():
    Checkpoints.metrics = lambda self, step: {}  # its storage shows these files later
with Checkpoints(Path(sys.argv[3])) as checkpoints:
    print(checkpoints.chosen("best"), checkpoints.chosen("best_on_test"))
"""


def test_a_host_that_cannot_read_what_was_measured_chooses_as_the_first(tmp_path):
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step, score in ((1, 9.0), (2, 5.0)):
            state = TrainState(step=jnp.int32(step), params={"x": jnp.zeros(3)}, opt_state=())
            checkpoints.save(state, {}, {"eval/validation/mrr": score})
    for status, out, words in finish(*two_processes(CHOOSE, tmp_path)):
        assert status == 0, words[-3000:]
        assert out.splitlines()[-1] == "('best_on_validation', 1) None"


def two_processes(program, *arguments):
    """Start a program twice, with an address to meet at, its number, and the arguments."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-c", program, address, str(i), *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"coordinator": "a:1"}, "--coordinator needs --num_processes and --process_id too"),
        ({"process": 1}, "--process_id needs --coordinator and --num_processes too"),
        ({"coordinator": "a:1", "processes": 2, "process": 2}, r"--process_id=2 must lie in 0\.\.1"),
        ({"coordinator": "a", "processes": 2, "process": 0}, "--coordinator=a must be host:port"),
    ],
)
def test_flags_that_do_not_make_a_whole_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        hosts.join(**arguments)


def test_one_process_needs_nobody():
    hosts.join()
    assert hosts.is_first()
    assert hosts.tell_others("x") == ["x"]
    assert hosts.everywhere("x", lambda: 3) == 3
    with pytest.raises(OSError, match="full"):
        hosts.first_then_rest("x", lambda: (_ for _ in ()).throw(OSError("full")))
