import importlib
import subprocess
import sys
import textwrap
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import tfds_builders
from effnet_jax.data import builders
from effnet_jax.data.builders import GROUP, Builder, find_builder, register_builders
from effnet_jax.data.loading import load_split
from effnet_jax.data.problems import DataError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed(monkeypatch):
    """Nothing is registered, and these entry points are what is installed."""
    entries = []
    monkeypatch.setattr(builders, "_registered", {})
    monkeypatch.setattr(builders, "entry_points", lambda group: [entry for entry in entries if entry.group == group])
    return entries


def test_the_project_states_each_of_its_data_sets_as_an_entry_point(installed):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = project["entry-points"][GROUP]
    assert tuple(sorted(stated)) == tfds_builders.DATASETS
    installed += [EntryPoint(name, value, GROUP) for name, value in stated.items()]
    for name in tfds_builders.DATASETS:
        builder = find_builder(name)
        assert issubclass(builder, Builder) and builder.name == name
        assert builder.__module__ == f"tfds_builders.{name}.{name}_dataset_builder"


def test_nothing_in_the_library_names_the_package_of_the_builders():
    found = [p for p in (ROOT / "effnet_jax").rglob("*.py") if "tfds_builders" in p.read_text()]
    assert found == []


def test_a_package_that_is_registered_comes_before_what_is_installed(installed):
    installed.append(EntryPoint("qmul_chair_v1", "nowhere:Builder", GROUP))
    register_builders("tfds_builders")
    assert find_builder("qmul_chair_v1").name == "qmul_chair_v1"
    with pytest.raises(DataError, match=r"'chairs'; there are clothes_v1, procedural_garments, .*sketch_photo_folder$"):
        find_builder("chairs")
    with pytest.raises(ModuleNotFoundError, match="no package 'no_such_package' to take data sets from"):
        register_builders("no_such_package")


def test_where_nothing_is_installed_the_error_says_so(installed):
    with pytest.raises(DataError, match=r"no data set 'chairs'; there are none; install .* effnet_jax\.builders"):
        find_builder("chairs")


@pytest.mark.parametrize("dataset", ["mine", Path])
def test_what_is_no_builder_of_pairs_is_refused(dataset, installed, unchecked):
    installed.append(EntryPoint("mine", "pathlib:Path", GROUP))
    with pytest.raises(DataError, match=r"<class 'pathlib\.Path'> is no builder of sketches and photos"):
        load_split(dataset, "train")


def test_a_builder_may_stand_in_place_of_its_name(folder, tmp_path, installed):
    module = importlib.import_module("tfds_builders.sketch_photo_folder.sketch_photo_folder_dataset_builder")
    train = load_split(module.Builder, "train", source_dir=folder, tfds_dir=tmp_path / "tfds")
    assert train.dataset == "sketch_photo_folder" and len(train.photo_ids) == 4


def test_the_main_program_knows_the_data_sets_of_its_checkout_whatever_is_installed():
    program = """
        import importlib.metadata, sys
        importlib.metadata.entry_points = lambda **options: ()
        import main  # as processes do that the program starts
        assert "tensorflow_datasets" not in sys.modules
        from effnet_jax.data.builders import find_builder
        print(find_builder("clothes_v1"))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "tfds_builders.clothes_v1" in done.stdout, done.stderr
