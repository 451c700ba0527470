import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from effnet_jax.cli.program import app
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
        assert weights.found.head[0].shape == (8, 16)


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
