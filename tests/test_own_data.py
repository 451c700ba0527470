"""docs/own-data.md: its commands run in their order, on a small folder, with a small network."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import MODEL, draw_pair, write_pairs, write_photos

from effnet_jax.cli import program

ROOT = Path(__file__).parents[1]
COMMANDS = [
    line
    for block in re.findall(
        r"^```bash\n(.*?)^```$", (ROOT / "docs" / "own-data.md").read_text(), re.MULTILINE | re.DOTALL
    )
    for line in block.replace("\\\n", "").splitlines()
]
SIZES = ("backbone", "weights", "image_size", "width", "depth", "heads")
SMALL = {  # what makes the training of the page a matter of seconds
    **{f"model.{name}": getattr(MODEL, name) for name in SIZES},
    "data.tfds_dir": "tfds", "data.cache": "ram", "train.epochs": 1.0, "train.batch_size": 8, "optim.warmup_steps": 1,
    "data.validation_share": 0.45,
}  # fmt: skip


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """The files that the page speaks of."""
    for second in write_pairs(tmp_path / "my_data", range(44), range(44, 56)).glob("*A/*_02.png"):
        second.unlink()  # they are copies of the first, which check-data would say
    write_photos(tmp_path / "photos", range(60, 104))
    (tmp_path / "drawings").mkdir()
    for seed in (60, 61):
        draw_pair(seed)[1].save(tmp_path / "drawings" / f"{seed}.png")
    draw_pair(62)[1].save(tmp_path / "drawing.png")
    draw_pair(63)[1].convert("RGB").save(tmp_path / "photo_of_a_drawing.jpg")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.mark.slow
def test_every_command_of_the_page_runs(desk, monkeypatch, capsys):
    said = {}
    for line in COMMANDS:
        name, *arguments = shlex.split(line)
        if name == "python":
            flags = [f"--config.{field}={value}" for field, value in SMALL.items()]
            done = subprocess.run(
                [sys.executable, ROOT / arguments[0], *arguments[1:], *flags],
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, done.stderr[-2000:]
            continue
        assert name == "effnet-jax"
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        try:
            program.main()
        except SystemExit as stopped:
            assert not stopped.code, f"{line}: {capsys.readouterr().err}"
        said[arguments[0]] = capsys.readouterr().out
    assert set(said) == {"draw", "check-data", "report", "embed", "search", "export-index"}
    assert "44 photos; 44 added" in said["embed"]
    for made in ("faults.html", "found.html", "vectors.npz", "runs/mine/report.html", "index/index.json"):
        assert (desk / made).stat().st_size > 0
