"""Search an index with a sketch: open it, embed the sketch, compare it with every photo."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32, Int, UInt8

from effnet_jax.catalogue import layout, part_files
from effnet_jax.catalogue.layout import Manifest, Table
from effnet_jax.catalogue.picture import Picture, read_picture
from effnet_jax.encoders.encoders import Encoders, read_encoders, read_fingerprint
from effnet_jax.images.preprocessing import resize
from effnet_jax.retrieval.top_k import BLOCK_ROWS, Blocks, top_k

OK, MISSING, CHANGED = "ok", "missing", "changed"
SKETCHES = 64  # read and embedded at a time
SHORTLIST = 100  # photos that re-ranking scores anew for each sketch


@dataclasses.dataclass(frozen=True)
class Hit:
    """A photo that was found.

    Attributes:
        rank: from 1.
        score: cosine of the sketch's and the photo's embedding, -1 to 1; with re-ranking, what `reranked_by` gives.
        path: where the photo was when it was embedded.
        row: of the index; `Catalogue.thumbnail` takes it.
        status: "ok"; "missing": no file there now; "changed": the file there now is another one.
    """

    rank: int
    score: float
    path: str
    row: int
    status: str


class Catalogue:
    """An index of photos, open for searching. Made by `Catalogue.open`.

    The embeddings are mapped from disk: opening reads almost nothing, and a search needs no more memory than one block.
    The index may be brought up to date while it is open: embeddings and paths, and so what is found, stay as they were.
    Thumbnails and tokens of photos that the new state no longer holds are gone, which is a ValueError.
    """

    def __init__(self, folder: Path, manifest: Manifest, table: Table, blocks: Blocks):
        self.folder = folder
        self.manifest = manifest
        self._table = table
        self._blocks = blocks

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], *, resident: bool = False, block_rows: int = BLOCK_ROWS
    ) -> "Catalogue":
        """Open an index.

        Args:
            folder: that `effnet-jax embed` or `build_catalogue` made.
            resident: copy the embeddings to the device as float32, for a program that answers many queries.
            block_rows: photos compared at a time, which bounds the memory of a search.

        Raises:
            ValueError: no index there, not whole, or of another layout.
        """
        folder = Path(folder).expanduser().absolute()
        try:
            manifest, table = _open_present(folder)
        except layout.NotWhole:  # a build may have replaced it between reading index.json and opening what it names
            manifest, table = _open_present(folder)
        if read_fingerprint(folder / layout.MODEL) != manifest.fingerprint:
            raise ValueError(f"{folder} mixes two models: model/ is not the one of index.json; embed again.")
        return cls(folder, manifest, table, Blocks(table.embeddings, rows=block_rows, resident=resident))

    def __len__(self) -> int:
        return len(self._table)

    @cached_property
    def encoders(self) -> Encoders:
        """The encoders that the index was made with; read when first needed."""
        return read_encoders(self.folder / layout.MODEL)

    @property
    def embeddings(self) -> Float16[np.ndarray, "n z"]:
        """Embeddings of all photos, unit norm, mapped from disk."""
        return self._table.embeddings

    @property
    def sha256(self) -> UInt8[np.ndarray, "n 32"]:
        """SHA-256 of each photo's file."""
        return self._table.photos["sha256"]

    @cached_property
    def paths(self) -> list[str]:
        """Absolute paths of all photos, in order of their bytes."""
        return self._table.all_paths()

    def search(self, sketch: Picture, **options: Any) -> list[Hit]:
        """Find the photos most like a sketch; options as in `search_many`."""
        return self.search_many([sketch], **options)[0]

    def search_many(
        self,
        sketches: Sequence[Picture],
        *,
        top: int = 10,
        clean: bool = False,
        rerank: bool = False,
        shortlist: int = SHORTLIST,
        check_files: bool = True,
    ) -> list[list[Hit]]:
        """Find the photos most like each sketch: every photo is compared, equal scores come in order of the paths.

        Args:
            sketches: RGB arrays, paths, bytes of picture files, or Pillow images.
            top: photos per sketch; all of them where there are fewer.
            clean: turn photographed or scanned drawings into black on white first.
            rerank: score the first photos anew, by TRSM where the index is of a stage-2 run, else by patches (late
                interaction); the index must keep tokens.
            shortlist: photos that are scored anew, at least `top`.
            check_files: look whether each photo found is still where and what it was.

        Raises:
            DecodeError: a sketch that is no picture.
            ValueError: re-ranking without tokens, or encoders that are no ViT.
        """
        hits = []
        for small in self._batches(sketches, clean):
            hits += self.search_resized(small, top=top, rerank=rerank, shortlist=shortlist, check_files=check_files)
        return hits

    def resized(self, picture: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
        """Bring a picture to the size that the encoders see."""
        how = self.encoders.preprocessing
        return resize(picture, how.image_size, how.resample)

    def search_resized(
        self,
        small: UInt8[np.ndarray, "s _ _ 3"],
        *,
        top: int = 10,
        rerank: bool = False,
        shortlist: int = SHORTLIST,
        check_files: bool = True,
    ) -> list[list[Hit]]:
        """Search with sketches that `resized` gave, some dozens at a time; options as in `search_many`."""
        first = max(top, shortlist) if rerank else top
        index, score = top_k(self.encoders.embed_sketches(small), self._blocks, first)
        if rerank:
            index, score = (x[:, :top] for x in self._reranker(small, index, score))
        return [
            [
                Hit(rank, cosine, self._table.path(row), row, self.status(row) if check_files else OK)
                for rank, (row, cosine) in enumerate(zip(rows, cosines, strict=True), 1)
            ]
            for rows, cosines in zip(index.tolist(), score.tolist(), strict=True)
        ]

    def embed_sketches(self, sketches: Sequence[Picture], *, clean: bool = False) -> Float32[np.ndarray, "s z"]:
        """Embed sketches as `search` does; unit norm."""
        none = np.empty((0, self.manifest.width), np.float32)
        return np.concatenate([none, *map(self.encoders.embed_sketches, self._batches(sketches, clean))])

    @property
    def reranked_by(self) -> str:
        """What scores photos anew, in words; all of these scores lie in -1 to 1."""
        if (module := self.encoders.pair_module) is not None:
            scorer, name, weight = "TRSM", "trsm.weight", module.config.weight
        else:
            scorer, name = "the likeness of patches (late interaction)", "late.weight"
            weight = self.encoders.late.weight
        return scorer if weight == 1 else f"{scorer}, mixed with the cosine ({name}={weight:g})"

    @cached_property
    def _reranker(self) -> Any:
        from effnet_jax.catalogue.rerank import Reranker

        if not self.manifest.tokens:
            raise ValueError(f"{self.folder} keeps no tokens to re-rank by; embed with --tokens (tokens=True).")
        return Reranker(self.encoders, _KeptTokens(self))

    def _batches(self, sketches: Sequence[Picture], clean: bool) -> Iterator[UInt8[np.ndarray, "s _ _ 3"]]:
        for start in range(0, len(sketches), SKETCHES):
            some = sketches[start : start + SKETCHES]  # read one at a time: what a camera gives is large
            yield np.stack([self.resized(read_picture(sketch, clean=clean)) for sketch in some])

    def status(self, row: int) -> str:
        """Tell whether the photo of a row is still where and what it was: "ok", "missing" or "changed"."""
        path, photo = self._table.path(row), self._table.photos[row]
        try:
            now = os.stat(path)
            if (now.st_size, now.st_mtime_ns) == (photo["size"], photo["mtime_ns"]):
                return OK
            with open(path, "rb") as file:
                same = hashlib.file_digest(file, "sha256").digest() == photo["sha256"].tobytes()
        except OSError:
            return MISSING
        return OK if same else CHANGED

    def thumbnail(self, row: int) -> bytes:
        """Give the small JPEG file of a photo, as it was when it was embedded.

        Raises:
            ValueError: a later build removed it; open the index again.
        """
        photo = self._table.photos[row]
        with self._part_is_there():
            return part_files.read_thumbnail(self.folder, int(photo["part"]), int(photo["row"]))

    def tokens(self, rows: Sequence[int] | Int[np.ndarray, " r"]) -> Float16[np.ndarray, "r n d"]:
        """Give the photos' final-norm tokens, CLS first, which a pair scorer compares with a sketch's.

        Raises:
            ValueError: the index was built without tokens, or a later build removed them; open the index again.
        """
        if not self.manifest.tokens:
            raise ValueError(f"{self.folder} keeps no tokens; embed with --tokens (tokens=True).")
        places = self._table.photos[np.asarray(rows, np.int64)][["part", "row"]].tolist()
        with self._part_is_there():
            return np.stack([part_files.part_array(self.folder, part, "tokens")[row] for part, row in places])

    @contextmanager
    def _part_is_there(self) -> Iterator[None]:
        try:
            yield
        except layout.NotWhole as error:
            present = layout.read_manifest(self.folder)
            if present is not None and present.generation == self.manifest.generation:
                raise
            raise ValueError(f"{self.folder} was rebuilt while it was open; open it again ({error}).") from error


class _KeptTokens:
    """An index's tokens as a pair scorer reads them."""

    def __init__(self, catalogue: Catalogue):
        self._catalogue = catalogue

    def __len__(self) -> int:
        return len(self._catalogue)

    def __getitem__(self, rows: slice | Int[np.ndarray, " b"]) -> Float32[np.ndarray, "b n d"]:
        return self._catalogue.tokens(np.arange(len(self))[rows]).astype(np.float32)


def _open_present(folder: Path) -> tuple[Manifest, Table]:
    manifest = layout.read_manifest(folder)
    if manifest is None:
        unfinished = " (a build was stopped there: run it again)" if (folder / layout.MODEL).is_dir() else ""
        raise ValueError(f"there is no index in {folder}{unfinished}; effnet-jax embed makes one.")
    return manifest, layout.open_table(folder, manifest)


def describe(catalogue: Catalogue) -> dict[str, Any]:
    """What an index is, in plain values for JSON."""
    return {
        "index": str(catalogue.folder),
        "photos": len(catalogue),
        "width": catalogue.manifest.width,
        "tokens": catalogue.manifest.tokens,
        "written": catalogue.manifest.written,
        "checkpoint": dict(catalogue.encoders.origin),
    }
