import dataclasses
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from effnet_jax import Config, ConfigError
from effnet_jax.config import DataConfig, EvalConfig, LogConfig, OptimConfig
from effnet_jax.runs.folder import Run
from effnet_jax.runs.opening import claimed, open_run, record_splits, settings_of

CONFIG = Config()


def started(path):
    (path / "checkpoints" / "10").mkdir(parents=True)


def test_the_folder_remembers_configuration_and_versions(tmp_path):
    open_run(Run(tmp_path / "run"), CONFIG)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["optim"]["learning_rate"] == 6e-6
    assert "jax" in json.loads((tmp_path / "run" / "versions.json").read_text())["packages"]


def test_another_configuration_needs_its_own_folder(tmp_path):
    open_run(Run(tmp_path), CONFIG)
    started(tmp_path)
    open_run(Run(tmp_path), CONFIG)
    other = dataclasses.replace(CONFIG, optim=OptimConfig(learning_rate=1.0), eval=EvalConfig(ks=(1, 3)))
    with pytest.raises(ConfigError, match=r"optim.learning_rate: 6e-06 there, 1.0 now") as caught:
        open_run(Run(tmp_path), other)
    assert "eval.ks: [1, 5, 10] there, [1, 3] now" in str(caught.value)


def test_where_and_how_may_differ(tmp_path):
    open_run(Run(tmp_path), CONFIG)
    started(tmp_path)
    moved = dataclasses.replace(CONFIG, data=DataConfig(dir="/elsewhere", cache="ram", workers=3), log=LogConfig(False))
    open_run(Run(tmp_path), moved)


def test_a_start_that_failed_protects_nothing(tmp_path):
    open_run(Run(tmp_path), CONFIG)
    open_run(Run(tmp_path), dataclasses.replace(CONFIG, optim=OptimConfig(learning_rate=1.0)))
    assert json.loads((tmp_path / "config.json").read_text())["optim"]["learning_rate"] == 1.0


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        open_run(Run(tmp_path / "file"), CONFIG)


HOLDER = """
import multiprocessing, sys, time
from effnet_jax.runs.folder import Run
from effnet_jax.runs.opening import claimed
if __name__ == "__main__":
    with claimed(Run(sys.argv[1])):
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        worker.start()
        print(worker.pid, flush=True)
        worker.join()
"""


def test_one_training_at_a_time(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        worker = int(other.stdout.readline())
        with pytest.raises(ConfigError, match=rf"another training writes into .*\(process {other.pid} on "):
            claimed(Run(tmp_path)).__enter__()
        other.kill()  # its forked worker lives on
        other.wait()
        with claimed(Run(tmp_path)):
            assert (tmp_path / ".training").read_text().startswith("process ")
        os.kill(worker, signal.SIGKILL)
    with claimed(Run(tmp_path)):
        pass


def split(sha256, sketches=3):
    return SimpleNamespace(
        sha256=sha256, sketch_ids=("a_1",) * sketches, photo_ids=("a", "b"), photo_sha256=("c" * 64, "d" * 64)
    )


def test_photos_without_sketches_must_be_there_again(tmp_path):
    whole = {"train": split("1"), "test": split("2"), "unpaired": split("3")}
    without = {name: part for name, part in whole.items() if name != "unpaired"}
    for began, now, word in ((whole, without, "without"), (without, whole, "with")):
        run = Run(tmp_path / word)
        run.folder.mkdir()
        record_splits(run, began)
        started(run.folder)
        record_splits(run, began)
        with pytest.raises(ConfigError, match=f"would go on {word} them; give the same data.unpaired_photos"):
            record_splits(run, now)
        record_splits(run, now, trains=False)  # an evaluation needs none


def test_runs_with_other_photos_are_no_seeds_of_one_configuration(tmp_path):
    settings = []
    for name, parts in (("a", {}), ("b", {"unpaired": split("3")}), ("c", {"unpaired": split("4")})):
        run = Run(tmp_path / name)
        open_run(run, CONFIG)
        record_splits(run, {"train": split("1"), "test": split("2"), **parts})
        settings.append(json.dumps(settings_of(run), sort_keys=True))
    assert len(set(settings)) == 3


def test_changed_data_are_refused(tmp_path):
    record_splits(Run(tmp_path), {"train": split("1"), "test": split("2")})
    started(tmp_path)
    record_splits(Run(tmp_path), {"train": split("1"), "test": split("2")})
    with pytest.raises(ConfigError, match=r"split test: 3 sketches then, 4 now|split test.*3 sketches then, 4 now"):
        record_splits(Run(tmp_path), {"train": split("1"), "test": split("3", sketches=4)})


def test_a_run_from_before_a_field_existed_ran_with_its_default(tmp_path):
    open_run(Run(tmp_path), CONFIG)
    started(tmp_path)
    old = json.loads((tmp_path / "config.json").read_text())
    del old["model"]["token_recycling"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    open_run(Run(tmp_path), CONFIG)
    changed = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, token_recycling=True))
    with pytest.raises(ConfigError, match=r"model.token_recycling: False there, True now"):
        open_run(Run(tmp_path), changed)


def test_what_only_saves_memory_or_writes_more_may_change(tmp_path):
    open_run(Run(tmp_path), CONFIG)
    started(tmp_path)
    open_run(
        Run(tmp_path),
        dataclasses.replace(
            CONFIG,
            train=dataclasses.replace(CONFIG.train, micro_batch_size=8, log_every_steps=3),
            model=dataclasses.replace(CONFIG.model, remat=True),
        ),
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"model": "resnet", "epochs": 3}'),
        ("config.json", "[1, 2]"),
        ("config.json", "{"),
        ("metrics.json", '{"accuracy": 0.9}'),
        ("metrics.json", '{"results": []}'),
        ("metrics.json", '{"results": [{"accuracy": 0.9}]}'),
        ("metrics.json", "nan, nan"),
    ],
)
@pytest.mark.parametrize("start", [lambda run: claimed(run).__enter__(), lambda run: open_run(run, CONFIG)])
def test_files_of_another_program_are_not_written_over(tmp_path, name, content, start):
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=rf"{name} is not of effnet_jax, or damaged, and would be lost"):
        start(Run(tmp_path))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: content}


def test_our_own_files_without_checkpoints_may_be_started_anew(tmp_path):
    old = Config().to_dict()
    del old["parallel"], old["trsm"]  # an older run, from before these sections
    (tmp_path / "config.json").write_text(json.dumps(old))
    (tmp_path / "metrics.json").write_text('{"results": [{"dataset": "made", "queries": 3}]}')
    with claimed(Run(tmp_path)):
        open_run(Run(tmp_path), CONFIG)
    (tmp_path / "metrics.json").write_text("{")  # damaged, beside our configuration
    with claimed(Run(tmp_path)):
        open_run(Run(tmp_path), CONFIG)
