import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from effnet_jax.storage.files import held, new_folder, replacing, write_json


def test_the_file_appears_whole_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_can_be_read_by_people_whatever_a_folder_is_called(tmp_path):
    names = ["Schuhe für Große", "鞋", "no Unicode: \udcff"]
    write_json(tmp_path / "a.json", names)
    content = (tmp_path / "a.json").read_bytes().decode("utf-8")
    assert "Schuhe für Große" in content and "鞋" in content
    assert json.loads(content) == names


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with new_folder(tmp_path / "deep" / "out") as folder:
        (folder / "a").write_text("a")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "a").read_text() == "a"
    with pytest.raises(RuntimeError), new_folder(tmp_path / "other") as folder:
        (folder / "a").write_text("a")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_a_new_folder_takes_the_place_of_an_empty_one_only(tmp_path):
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as folder:
        (folder / "a").write_text("a")
    assert (tmp_path / "empty" / "a").read_text() == "a"
    for taken in (tmp_path / "empty", tmp_path / "empty" / "a"):
        with pytest.raises(FileExistsError, match="new or empty"), new_folder(taken):
            pass
    assert (tmp_path / "empty" / "a").read_text() == "a"


def test_two_threads_write_the_same_file_at_once_and_one_of_them_stays_whole(tmp_path):
    path, both_began = tmp_path / "a.txt", threading.Barrier(2, timeout=10)

    def write(letter):
        with replacing(path) as temporary:
            both_began.wait()
            temporary.write_text(letter * 1000)
            both_began.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, "ab"))
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_threads_that_make_the_same_folder_one_gets_it_and_the_other_an_error(tmp_path):
    path, both_began = tmp_path / "out", threading.Barrier(2, timeout=10)

    def make(letter):
        try:
            with new_folder(path) as folder:
                both_began.wait()
                (folder / letter).write_text(letter)
        except OSError:
            return ""
        return letter

    with ThreadPoolExecutor(2) as pool:
        made = "".join(pool.map(make, "ab"))
    assert [file.name for file in path.iterdir()] == [made]
    assert list(tmp_path.iterdir()) == [path]


HOLDER = """
import sys
from effnet_jax.storage.files import held
with held(sys.argv[1], refuse=BlockingIOError):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path / "lock"` until it is told to go."""
    pytest.importorskip("fcntl")
    command = [sys.executable, "-c", HOLDER, tmp_path / "lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_refuses_others_by_the_name_of_its_holder_and_dies_with_it(holder, tmp_path):
    lock = tmp_path / "lock"
    with pytest.raises(BlockingIOError, match=f"process {holder.pid} on "), held(lock, refuse=BlockingIOError):
        pass
    holder.kill()
    holder.wait()
    with held(lock, refuse=BlockingIOError) as alone:
        assert alone
    with held(lock, refuse=BlockingIOError) as alone:  # free after its block
        assert alone


def test_who_waits_for_a_lock_says_so_and_gets_it(holder, tmp_path, caplog):
    def let_go(record):
        if "waiting for" in record.getMessage():
            holder.stdin.write("\n")
            holder.stdin.flush()
        return True

    logger = logging.getLogger("effnet_jax.storage.files")
    logger.addFilter(let_go)
    try:
        with caplog.at_level(logging.INFO), held(tmp_path / "lock") as alone:
            assert alone
            assert holder.wait(10) == 0
    finally:
        logger.removeFilter(let_go)
    assert f"waiting for process {holder.pid} on " in caplog.text


def test_without_locks_nothing_is_refused(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def none(file, how):
        raise OSError(38, "no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    with held(tmp_path / "lock") as alone:
        assert not alone
