"""A folder on disk, and what opens it as a data set."""

import pytest
from picture_folder import make_folder

from effnet_jax.data.loading import load_split


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "my photos")


@pytest.fixture
def open_split(tmp_path, folder):
    def open_it(split="train", source=folder, **options):
        return load_split("sketch_photo_folder", split, source_dir=source, tfds_dir=tmp_path / "tfds", **options)

    return open_it
