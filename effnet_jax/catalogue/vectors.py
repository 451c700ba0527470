"""An index as one .npz file, for a vector database or another program."""

import os
from pathlib import Path

import numpy as np

from effnet_jax.catalogue.catalogue import Catalogue
from effnet_jax.storage.files import replacing


def export_catalogue(catalogue: Catalogue, path: str | os.PathLike[str], *, dtype: str = "float32") -> Path:
    """Write embeddings, paths and content hashes to a .npz file, whole or not at all.

    The file holds `embeddings` (n, z) of unit norm, `paths` (n,) text, `sha256` (n,) text of 64 hexadecimal digits, and
    `fingerprint`, one text that names the encoders: a query must come from the same ones.

    Args:
        catalogue: open index.
        path: of the file; its folder is made.
        dtype: of the embeddings, "float32" or "float16" (as they are stored).

    Raises:
        ValueError: another dtype, or a name that does not end in .npz.
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype={dtype!r} is not known; choose float32 or float16.")
    path = Path(path).expanduser()
    if path.suffix != ".npz":
        raise ValueError(f"{path} should end in .npz.")
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            embeddings=np.asarray(catalogue.embeddings, dtype),
            paths=np.array(catalogue.paths, str),
            sha256=np.array([digest.tobytes().hex() for digest in catalogue.sha256], str),
            fingerprint=np.array(catalogue.encoders.fingerprint),
        )
    return path
