"""What a user of the installed package relies on: a lean import, a whole wheel, the names of the public face."""

import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

import effnet_jax

ROOT = Path(__file__).parent.parent
HEAVY = ("tensorflow", "tensorflow_datasets", "grain", "torch", "orbax", "PIL", "scipy", "matplotlib", "rich", "absl")
CORE = ("EffNet", "Encoder", "ViT", "make_functional", "info_nce", "alignment_loss", "rank_gallery", "accuracy_at_k")
ERRORS = {"ConfigError", "DataError", "DecodeError", "WeightsError", "CheckpointError", "DamagedError", "NotWhole"}


def python(program, **options):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, **options
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_import_is_lean():
    loaded = python("import effnet_jax, sys; print(*sys.modules)").split()
    assert not {"jax", *HEAVY} & set(loaded)


def test_modules_losses_and_ranking_need_only_the_array_libraries():
    allowed = "jax, flax, optax, numpy, einops, jaxtyping"
    program = f"""
        import sys
        for name in {HEAVY[:6]!r}:
            sys.modules[name] = None  # an import of it now fails
        import effnet_jax
        for name in {CORE!r}:
            getattr(effnet_jax, name)
        print("needs only {allowed}")
    """
    assert "needs only" in python(program)


def test_every_public_name_exists_and_unknown_ones_are_refused():
    for name in effnet_jax.__all__:
        assert getattr(effnet_jax, name).__name__ == name
    assert set(dir(effnet_jax)) == set(effnet_jax.__all__)
    assert set(effnet_jax.__all__) >= ERRORS
    with pytest.raises(AttributeError, match="no 'Efnet'"):
        effnet_jax.Efnet  # noqa: B018


def test_the_wheel_is_whole_and_imports_outside_the_checkout(tmp_path):
    source = tmp_path / "source"  # a copy, so that the checkout stays clean and nothing stale gets in
    for package in ("effnet_jax", "tfds_builders"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        file.extractall(tmp_path / "site")
    for package in ("effnet_jax", "tfds_builders"):
        wanted = {str(p.relative_to(ROOT)) for p in (ROOT / package).rglob("*.py") if "__pycache__" not in p.parts}
        assert wanted <= names
    assert "effnet_jax/py.typed" in names
    assert "tfds_builders/clothes_v1/README.md" in names
    assert not [name for name in names if name.startswith(("tests/", "configs/", "benchmarks/"))]
    program = """
        import effnet_jax, tfds_builders
        from effnet_jax import EffNet, load_split
        from effnet_jax.data.builders import find_builder
        print(effnet_jax.__file__, tfds_builders.__file__, *tfds_builders.DATASETS)
        for name in tfds_builders.DATASETS:
            print("found", find_builder(name).__module__)
    """
    said = python(program, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site"), "JAX_PLATFORMS": "cpu"})
    assert said.split()[0].startswith(str(tmp_path))
    assert said.split()[1].startswith(str(tmp_path))
    assert "procedural_garments" in said
    found = [line.removeprefix("found ") for line in said.splitlines() if line.startswith("found ")]
    assert len(found) == 7 and "tfds_builders.qmul_shoe_v2.qmul_shoe_v2_dataset_builder" in found
