"""Any folder of sketches and photos."""

import hashlib
import re
from pathlib import Path
from typing import ClassVar

from effnet_jax.data.folders import FOLDERS
from tfds_builders.base import PairsBuilder, PairsConfig


class Builder(PairsBuilder):
    """A folder in the trainA/trainB/testA/testB layout, taken as it is.

    Without testA and testB a fifth of the photos, and their sketches, becomes the test split.
    """

    BUILDER_CONFIGS: ClassVar[list[PairsConfig]] = [PairsConfig(name="default", description="The one folder in use.")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put sketches named <photo id>_<tag>.<extension> into trainA and photos named <photo id>.<extension> into "
        "trainB, likewise testA and testB, or leave these two out; "
        "tfds_builders/sketch_photo_folder/README.md has the rules."
    )

    @classmethod
    def forms(cls, form: str, source: Path, split_seed: int) -> list[PairsConfig | None]:
        """The form that belongs to one folder: its name and a hash of its path keep different folders apart.

        The seed is part of the name only where the folder has no test part for it to matter. Of a folder that is gone
        this is not known: then both are given.
        """
        if form:
            return super().forms(form, source, split_seed)
        path = Path(source).expanduser().resolve()
        readable = re.sub(r"[^A-Za-z0-9-]+", "-", path.name).strip("-")[:40] or "folder"
        whole = f"{readable}_{hashlib.sha256(str(path).encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"
        names = [whole, f"{whole}_seed{split_seed}"]
        if path.is_dir():
            has_test = any((path / folder).is_dir() for folder in FOLDERS["test"])
            names = names[:1] if has_test else names[1:]
        description = "A folder of the user's own."
        return [PairsConfig(name=name, description=description, split_seed=split_seed) for name in names]
