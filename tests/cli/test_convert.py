import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from effnet_jax.cli.program import app, main
from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.sources import read_source

FILES = Path(__file__).parents[1] / "weights" / "files"


def run(*arguments):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)], catch_exceptions=False)


def test_an_authors_checkpoint_becomes_two_files_and_says_what_it_is(tmp_path):
    done = run(FILES / "stage1.pth", tmp_path / "chairs.safetensors")
    assert done.exit_code == 0
    for words in ("EffNet's authors, stage 1", "epoch 12, loss 1.5, top1 73.31", "encoder for sketch images: vit_tiny",
                  "embedding head of 8", "as the authors train", "chairs-photo.safetensors"):  # fmt: skip
        assert words in done.stdout
    for domain in ("sketch", "photo"):
        (weights,) = read_source(tmp_path / f"chairs-{domain}.safetensors").encoders
        assert weights.domain == domain
        assert weights.found.tensors["head.weight"].shape == (8, 16)


def test_json_and_check(tmp_path):
    done = run(FILES / "vit.pth", "--check", "--json")
    report = json.loads(done.stdout)
    (encoder,) = report["encoders"]
    assert encoder["backbone"] == "vit_tiny"
    assert encoder["sizes"] == {"width": 16, "depth": 2, "heads": 1, "patch_size": 4, "image_size": 16}
    assert "written" not in encoder
    assert encoder["preprocessing"]["mean"] == [0.5, 0.5, 0.5]


def test_a_converted_file_is_converted_to_the_same_bytes_again(tmp_path):
    run(FILES / "vit.pth", tmp_path / "a.safetensors")
    run(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_what_cannot_be_done_is_a_sentence(tmp_path):
    with pytest.raises(WeightsError, match=r"names posix\.system"):
        run(FILES / "runs_code.pth", tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"out.pth: the output is a \.safetensors file"):
        run(FILES / "vit.pth", tmp_path / "out.pth")
    assert run(FILES / "vit.pth").exit_code == 2
    assert not list(tmp_path.iterdir())


def test_nothing_is_replaced_unasked_and_never_what_is_read(tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert run(FILES / "vit.pth", first).exit_code == 0
    was = first.read_bytes()
    for arguments in ((first, first), (first, first, "--overwrite"), (first, tmp_path / "x" / ".." / "a.safetensors")):
        with pytest.raises(ValueError, match="would replace, or lie among, what is read"):
            run(*arguments)
    with pytest.raises(ValueError, match=r"a\.safetensors exists already; .* --overwrite"):
        run(FILES / "wrapped.pt", first)
    assert first.read_bytes() == was
    second.write_bytes(b"old")
    assert run(first, second, "--overwrite").exit_code == 0
    assert second.read_bytes() == was
    run(FILES / "stage1.pth", tmp_path / "pair.safetensors")
    with pytest.raises(ValueError, match=r"pair-sketch.safetensors, .*pair-photo.safetensors exist already"):
        run(FILES / "stage1.pth", tmp_path / "pair.safetensors")


def test_a_folder_with_both_encoders_is_read(tmp_path):
    folder = tmp_path / "pair"
    run(FILES / "stage1.pth", folder / "chairs.safetensors")
    done = run(folder, tmp_path / "again.safetensors")
    assert "folder of safetensors" in done.stdout
    for domain in ("sketch", "photo"):
        new, old = tmp_path / f"again-{domain}.safetensors", folder / f"chairs-{domain}.safetensors"
        assert new.read_bytes() == old.read_bytes()
    with pytest.raises(ValueError, match="lie among"):
        run(folder, folder / "third.safetensors")


def test_assumed_heads_are_said_to_be(tmp_path):
    assert "heads 1 (assumed, 64 channels per head)" in run(FILES / "vit.pth", "--check").stdout


@pytest.mark.parametrize("out", ["folder.safetensors", "file/x.safetensors"])
def test_a_place_that_cannot_be_written_is_a_sentence(out, tmp_path, monkeypatch, capsys):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_text("")
    arguments = ["effnet-jax", "convert", str(FILES / "vit.pth"), str(tmp_path / out), "--overwrite"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line in (f"{tmp_path / out}: Is a directory", f"{tmp_path / 'file'}: Not a directory",
                    f"{tmp_path / 'file'}: File exists")  # fmt: skip
