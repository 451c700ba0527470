import gc
import resource
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.runs.checkpoints import CheckpointError, Checkpoints
from effnet_jax.runs.choice import MEASURED, ON_TEST, ON_VALIDATION, scalar_name
from effnet_jax.runs.saved import abstract, read_tree
from effnet_jax.runs.state import TrainState
from effnet_jax.runtime.sharding import make_mesh, replicated

# where reading or writing fails, orbax's threads leave coroutines and callbacks behind that fail once more
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


MRR = scalar_name(*MEASURED[ON_VALIDATION])


def best(checkpoints):
    return checkpoints.chosen(ON_VALIDATION)[1]


@pytest.fixture(autouse=True)
def nothing_left_behind():
    yield
    gc.collect()


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
    with Checkpoints(tmp_path, keep=2, best_by=(ON_VALIDATION,)) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(state(step), {"model": {"width": 3}}, {MRR: score})
        checkpoints.wait()
        assert checkpoints.latest() == 5
        assert best(checkpoints) == 2
        assert checkpoints.chosen(ON_TEST) is None
    kept = sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit())
    assert kept == [2, 4, 5]
    with Checkpoints(tmp_path, keep=2, best_by=(ON_VALIDATION,)) as checkpoints:
        got = checkpoints.restore(2, abstract(state(0), whole()))
    jax.tree.map(np.testing.assert_array_equal, got, state(2))
    assert got.params["blocks"][0]["kernel"].sharding == whole()


def test_saves_without_metrics_do_not_count_as_best(tmp_path):
    with Checkpoints(tmp_path, keep=1, best_by=(ON_VALIDATION,)) as checkpoints:
        checkpoints.save(state(1), {}, {MRR: 1.0})
        checkpoints.save(state(2), {}, {})
        checkpoints.wait()
        assert (checkpoints.latest(), best(checkpoints)) == (2, 1)


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


def saved(folder, *steps, keep=5):
    """Checkpoints of these steps, large enough for array files."""
    with Checkpoints(folder, keep=keep, best_by=(ON_VALIDATION,)) as checkpoints:
        for step in steps:
            checkpoints.save(large(step), {"model": {"width": 3}}, {MRR: float(step)})
    return folder


def large(step):
    params = {"kernel": jax.random.normal(jax.random.key(step), (300, 200))}
    return TrainState(step=jnp.int32(step), params=params, opt_state=(jnp.float32(step), None))


def array_file(checkpoint):
    return max((p for p in (checkpoint / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def cut(checkpoint):
    path = array_file(checkpoint)
    path.write_bytes(path.read_bytes()[:-1000])


def remove(checkpoint):
    array_file(checkpoint).unlink()


def garbage(checkpoint):
    path = array_file(checkpoint)
    path.write_bytes(b"x" * path.stat().st_size)


def one_bit(checkpoint):
    path = array_file(checkpoint)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def no_metadata(checkpoint):
    (checkpoint / "state" / "_METADATA").unlink()


def no_manifest(checkpoint):
    (checkpoint / "state" / "manifest.ocdbt").unlink()


@pytest.mark.parametrize("harm", [cut, remove, garbage, one_bit, no_metadata, no_manifest])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(tmp_path, caplog, harm):
    folder = saved(tmp_path / "checkpoints", 1, 2)
    harm(folder / "2")
    with Checkpoints(folder, keep=5, best_by=(ON_VALIDATION,), clean=True) as checkpoints:
        assert checkpoints.latest() == 1
        assert best(checkpoints) == 1
        got = checkpoints.restore_latest(abstract(large(0), whole()))
        assert got is not None
        jax.tree.map(np.testing.assert_array_equal, got, large(1))
        assert f"{folder}/2 is damaged and not used" in caplog.text
        assert "going on from step 1" in caplog.text
        checkpoints.save(large(2), {}, {MRR: 2.0})
        checkpoints.wait()
        assert checkpoints.latest() == 2
    assert [p.name[:10] for p in folder.iterdir() if p.name.startswith("damaged")] == ["damaged_2_"]
    with Checkpoints(folder, keep=5) as checkpoints:
        got = checkpoints.restore_latest(abstract(large(0), whole()))
    jax.tree.map(np.testing.assert_array_equal, got, large(2))


@pytest.mark.parametrize("harm", [cut, remove, no_metadata])
def test_damage_is_found_without_a_listing_too(tmp_path, harm):
    folder = saved(tmp_path / "checkpoints", 1, 2)
    (folder / "2" / "files.json").unlink()
    harm(folder / "2")
    with Checkpoints(folder) as checkpoints:
        got = checkpoints.restore_latest(abstract(large(0), whole()))
    assert got is not None
    assert int(got.step) == 1


@pytest.mark.parametrize("harm", [cut, remove, garbage])
def test_tensors_that_cannot_be_read_by_themselves_are_a_sentence_that_names_the_checkpoint(tmp_path, harm):
    folder = saved(tmp_path, 1) / "1"
    (folder / "files.json").unlink()
    harm(folder)
    with pytest.raises(CheckpointError, match=rf"tensors in {folder}/state cannot be read: .*\n.*or move this check"):
        read_tree(folder / "state", ("params",), large(0).params)


def test_where_all_are_damaged_nothing_is_started_anew(tmp_path):
    folder = saved(tmp_path / "checkpoints", 1, 2)
    for step in "12":
        garbage(folder / step)
    with Checkpoints(folder) as checkpoints, pytest.raises(CheckpointError, match=r"every checkpoint .*steps 1, 2"):
        checkpoints.restore_latest(abstract(large(0), whole()))
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]


def test_a_model_that_does_not_fit_is_not_taken_for_damage(tmp_path):
    folder = saved(tmp_path / "checkpoints", 1, 2)
    with (
        Checkpoints(folder) as checkpoints,
        pytest.raises(ValueError, match=r"/2 does not hold the state of this model: params.kernel \(300, 200\), not"),
    ):
        checkpoints.restore_latest(abstract(wider(), whole()))
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]


def wider():
    return TrainState(step=jnp.int32(0), params={"kernel": jnp.zeros((300, 201))}, opt_state=(jnp.float32(0), None))


@pytest.fixture
def small_files():
    """No file may grow beyond 100 kB: the error that a full disk or a quota gives, for this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_save_that_does_not_fit_says_so_and_leaves_what_there_was(tmp_path, request):
    folder = saved(tmp_path / "checkpoints", 1)
    request.getfixturevalue("small_files")
    with (
        pytest.raises(CheckpointError, match=r"(?s)step 2 could not be written.*too large.*newest .* that of step 1"),
        Checkpoints(folder) as checkpoints,
    ):
        checkpoints.save(large(2), {}, {})
        checkpoints.wait()
    assert [p.name for p in folder.iterdir()] == ["1"]
    with Checkpoints(folder) as checkpoints:
        got = checkpoints.restore_latest(abstract(large(0), whole()))
    jax.tree.map(np.testing.assert_array_equal, got, large(1))


def test_what_a_failed_save_still_writes_while_it_is_removed_is_removed_too(tmp_path, request, monkeypatch):
    folder = saved(tmp_path / "checkpoints", 1)
    remove, late = shutil.rmtree, ["manifest.ocdbt", "d"]

    def remove_while_arrays_are_written(path, **options):
        remove(path, **options)
        if path.parent == folder and late:
            (path / "state").mkdir(parents=True)
            (path / "state" / late.pop()).write_text("")

    monkeypatch.setattr(shutil, "rmtree", remove_while_arrays_are_written)
    request.getfixturevalue("small_files")
    with pytest.raises(CheckpointError, match="step 2 could not be written"), Checkpoints(folder) as checkpoints:
        checkpoints.save(large(2), {}, {})
    assert not late
    assert [p.name for p in folder.iterdir()] == ["1"]


def test_a_folder_removed_while_it_is_used_is_made_anew(tmp_path, caplog):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder, keep=2) as checkpoints:
        checkpoints.save(large(1), {}, {})
        checkpoints.wait()
        shutil.rmtree(folder)
        checkpoints.save(large(2), {}, {})
        checkpoints.wait()
        assert "was removed while the run used it; it is made anew" in caplog.text
        assert checkpoints.latest() == 2
        checkpoints.save(large(3), {}, {})
        checkpoints.save(large(4), {}, {})
    assert sorted(p.name for p in folder.iterdir()) == ["3", "4"]


def test_a_single_checkpoint_removed_while_it_is_used_is_not_missed(tmp_path):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder, keep=3, best_by=(ON_VALIDATION,)) as checkpoints:
        for step in (1, 2):
            checkpoints.save(large(step), {}, {MRR: float(step)})
        checkpoints.wait()
        shutil.rmtree(folder / "2")
        checkpoints.save(large(3), {}, {MRR: 0.0})
        checkpoints.wait()
        assert best(checkpoints) == 1
        assert checkpoints.latest() == 3


def test_what_a_killed_save_left_is_removed_by_the_next_run_only(tmp_path):
    folder = saved(tmp_path / "checkpoints", 1)
    left = folder / "2.orbax-checkpoint-tmp"
    shutil.copytree(folder / "1", left)
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.steps() == [1]
    assert left.exists()
    with Checkpoints(folder, clean=True) as checkpoints:
        checkpoints.save(large(2), {}, {})
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]


def test_what_is_whole_and_cannot_be_read_is_not_moved_away(tmp_path, monkeypatch):
    folder = saved(tmp_path / "checkpoints", 1, 2)

    def no_memory(*_, **__):
        raise MemoryError("no memory")

    with Checkpoints(folder) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "restore", no_memory)
        with pytest.raises(CheckpointError, match="/2 cannot be read: no memory"):
            checkpoints.restore_latest(abstract(large(0), whole()))
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]


def test_best_is_the_last_whole_one_where_those_measured_are_damaged(tmp_path):
    with Checkpoints(tmp_path, keep=3, best_by=(ON_VALIDATION,)) as checkpoints:
        checkpoints.save(large(1), {}, {MRR: 9.0})
        checkpoints.save(large(2), {}, {})
    damaged = max((p for p in (tmp_path / "1").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        assert checkpoints.chosen("best") == ("last", 2)
        assert checkpoints.chosen(ON_VALIDATION) is None
