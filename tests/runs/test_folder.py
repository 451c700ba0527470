import json
import shutil

import jax
import numpy as np
import pytest

from effnet_jax.models.trees import flatten
from effnet_jax.runs.folder import Run, trained_encoders
from effnet_jax.runs.results import _with_fields
from effnet_jax.runs.saved import read_about, read_saved_metrics, read_tree


def test_the_encoders_are_those_that_were_evaluated(trained):
    """Embeddings equal those of the report, without the data set and without the optimiser's state."""
    encoders = trained_encoders(trained, "last")
    assert encoders.origin["selection"] == "last"
    with np.load(trained / "last" / "embeddings.npz") as file:
        wanted, ids = file["photo_embeddings"], file["photo_ids"]
    from PIL import Image

    from effnet_jax.images.preprocessing import resize

    images = [np.array(Image.open(trained.parent / "data" / "testB" / f"{i}.png").convert("RGB")) for i in ids]
    got = encoders.embed_photos(np.stack([resize(image, 32) for image in images]))
    np.testing.assert_allclose(got, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)


def test_best_is_chosen_on_validation_and_a_step_can_be_given(trained):
    steps = {
        int(p.name): read_saved_metrics(p)["eval/validation/mrr"] for p in (trained / "checkpoints").glob("[0-9]*")
    }
    best = Run(trained).checkpoint("best")
    assert steps[best.step] == max(steps.values())
    assert best.selection.startswith("best on validation")
    one = trained / "checkpoints" / str(min(steps))
    assert trained_encoders(one).origin["step"] == min(steps)
    assert Run(trained).checkpoint("last").step == max(steps)
    with pytest.raises(ValueError, match="no checkpoint 'worst'"):
        trained_encoders(trained, "worst")
    assert trained_encoders(trained, min(steps)).origin["step"] == min(steps)
    assert trained_encoders(trained, min(steps)).origin["selection"] == "given by its step"
    assert Run.containing(one)[0].folder == Run.containing(trained / "last")[0].folder == trained


def test_a_checkpoint_copied_out_of_its_run_is_read_by_itself(trained, tmp_path):
    saved = Run(trained).checkpoint("last")
    copied = shutil.copytree(saved.folder, tmp_path / "backup" / str(saved.step))
    assert (Run.containing(copied)[0].folder, Run.containing(copied)[1]) == (copied, "")
    encoders = trained_encoders(copied)
    assert encoders.fingerprint == trained_encoders(trained, "last").fingerprint
    assert (encoders.origin["step"], encoders.origin["selection"]) == (saved.step, "given by its step")


@pytest.mark.parametrize("parent", ["runs", "checkpoints"])
def test_a_run_may_be_named_by_a_number(trained, tmp_path, parent):
    run = shutil.copytree(trained, tmp_path / parent / "2024")
    (run / "metrics.json").unlink()
    shutil.copy(trained / "metrics.json", run.parent)  # of something evaluated beside it
    assert (Run.containing(run)[0].folder, Run.containing(run)[1]) == (run, "")
    assert trained_encoders(run, "last").fingerprint == trained_encoders(trained, "last").fingerprint
    step = Run(run).checkpoint("last").folder
    assert (Run.containing(step)[0].folder, Run.containing(step)[1]) == (run, step.name)


def test_wrong_folders_are_refused(trained, tmp_path):
    with pytest.raises(ValueError, match="there is no run in"):
        trained_encoders(tmp_path / "none")
    (tmp_path / "model.pth").write_bytes(b"x")
    with pytest.raises(ValueError, match="is a file"):
        trained_encoders(tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"has no checkpoint of a run \(a step in checkpoints/\); it holds model\.pth"):
        trained_encoders(tmp_path)
    with pytest.raises(ValueError, match="is no checkpoint"):
        read_about(tmp_path)


def test_a_checkpoint_in_the_folder_of_another_run_is_refused(trained, tmp_path):
    mixed = shutil.copytree(trained, tmp_path / "mixed")
    config = json.loads((mixed / "config.json").read_text())
    config["model"]["depth"] = 5
    (mixed / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"model\.depth: 5 in config\.json, 2 in the checkpoint"):
        trained_encoders(mixed)


def test_tensors_that_do_not_fit_are_all_named(trained):
    folder = Run(trained).checkpoint("last").folder
    params = trained_encoders(trained).params
    like = jax.eval_shape(lambda: params)
    encoder = dict(like["sketch_encoder"])
    encoder["head"] = {"kernel": jax.ShapeDtypeStruct((7, 16), np.float32), "extra": encoder["head"]["bias"]}
    with pytest.raises(ValueError) as error:
        read_tree(folder / "state", ("params", "model"), {**like, "sketch_encoder": encoder})
    for words in (
        "missing: sketch_encoder.head.extra",
        "unexpected: sketch_encoder.head.bias",
        "misshapen: sketch_encoder.head.kernel is (24, 16), the model needs (7, 16)",
    ):
        assert words in str(error.value)
    assert flatten(like)


def test_a_damaged_checkpoint_is_refused_by_file(trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    folder = Run(copy).checkpoint("last").folder
    largest = max((p for p in (folder / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"is damaged.*\n  .*{largest.name} has"):
        trained_encoders(copy, "last")


def test_memory_that_does_not_suffice_is_not_taken_for_damage(trained, monkeypatch):
    def no_memory(*_, **__):
        raise MemoryError("no memory")

    monkeypatch.setattr("orbax.checkpoint.PyTreeCheckpointHandler.restore", no_memory)
    with pytest.raises(MemoryError, match="no memory"):
        trained_encoders(trained)


def test_what_changes_no_number_may_differ_from_how_the_run_began(trained, tmp_path):
    resumed = shutil.copytree(trained, tmp_path / "resumed")
    config = json.loads((resumed / "config.json").read_text())
    config["model"] |= {"remat": True, "attention": "xla"}
    (resumed / "config.json").write_text(json.dumps(config))
    assert trained_encoders(resumed, "last").config == trained_encoders(trained, "last").config


def test_the_folder_of_a_run_is_read_whole(trained):
    run = Run(trained)
    assert run.config.model.backbone == "vit_tiny"
    assert set(run.splits) == {"train", "validation", "test"}
    assert run.splits["test"].photos == len(run.splits["test"].photo_ids) == 12
    for result in run.metrics["results"]:
        ranks, saved = run.ranks(result["folder"]), run.embeddings(result["folder"])
        assert ranks.sketch_ids == saved.sketch_ids
        assert ranks.photo_ids == tuple(saved.photo_ids[j] for j in saved.photo_index)
        assert len(ranks.sketch_ids) == result["queries"]
    assert {rule for result in run.metrics["results"] for rule in result["chosen_as"]} == {"last", "best_on_validation"}
    assert run.checkpoint("best_on_validation").step == run.checkpoint("best").step
    assert run.encoders("last").fingerprint == trained_encoders(trained, "last").fingerprint


def test_what_was_not_measured_cannot_be_chosen(trained):
    with pytest.raises(ValueError, match=r"measured no checkpoint on the test set; .*eval\.best_on_test"):
        Run(trained).checkpoint("best_on_test")
    with pytest.raises(ValueError, match=r"has no checkpoint '999'; give best, .*, or one of the steps"):
        Run(trained).checkpoint(999)


def test_reports_of_older_runs_say_in_their_sentences_what_is_now_a_field():
    for selection, protocol, chosen, folder in (
        ("last", "encoder", ["last"], "last"),
        ("last, also best on validation (MRR, 20 photos)", "encoder", ["last", "best_on_validation"], "last"),
        ("latest, run stopped before its 9 steps", "encoder", ["last"], "last"),
        ("best on validation (MRR, 20 photos)", "rerank", ["best_on_validation"], "best_on_validation_rerank"),
        ("best on test (optimistic)", "encoder", ["best_on_test"], "best_on_test"),
        ("not known: embeddings were given", "encoder", [], ""),
    ):
        read = _with_fields({"selection": selection, "protocol": protocol})
        assert (read["chosen_as"], read["folder"]) == (chosen, folder)
