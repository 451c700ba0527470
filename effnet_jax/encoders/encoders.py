"""Trained encoders without the run they come from: pictures in, embeddings out; one folder on disk.

The folder holds `weights.safetensors` (float32, our own tensor names) and `model.json` (architecture, preprocessing,
and where the weights come from), and is all that searching needs.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float16, Float32, UInt8

from effnet_jax.config import LateConfig, ModelConfig, TrsmConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.encoders.centring import Centres, centred
from effnet_jax.encoders.encode_program import EncodeProgram, encoder_of
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.trees import flatten, nest
from effnet_jax.runtime.sharding import make_mesh, put_batch, replicated
from effnet_jax.storage.files import replacing, write_json

Params = dict[str, Any]
WEIGHTS, MODEL = "weights.safetensors", "model.json"
# Of the names of tensors that are not encoder parameters
TRSM_PREFIX, STATS_PREFIX, CENTRE_PREFIX = "trsm.", "batch_stats.", "centre."
# Fields of ModelConfig that are newer than the first fingerprints, which stay as they were
ADDED = {"recycling_heads": 8, "recycling_hidden": 2048, "recycling_as_published": False}
NO_EFFECT = ("weights", "attention", "remat")  # fields of ModelConfig that change no output of trained parameters


@dataclasses.dataclass(frozen=True, eq=False)
class PairModule:
    """TRSM of a stage-2 run, which scores a sketch and a photo together by their tokens.

    Attributes:
        config: of TRSM.
        params: its parameters.
    """

    config: TrsmConfig
    params: Params


@dataclasses.dataclass(frozen=True, eq=False)
class Encoders:
    """The sketch and the photo encoder of a trained run, with their preprocessing.

    Attributes:
        config: architecture.
        preprocessing: how pixels become numbers.
        params: parameters of both encoders.
        origin: where they come from, for people: run, step, how it was chosen, training data.
        pair_module: TRSM, where the run is one of stage 2.
        batch_stats: running statistics of both encoders, where the backbone has batch norms.
        late: how their patches are compared.
        centres: mean of each domain that is taken off its embeddings; empty: none is.
    """

    config: ModelConfig
    preprocessing: Preprocessing
    params: Params
    origin: Mapping[str, Any]
    pair_module: PairModule | None = None
    batch_stats: Params = dataclasses.field(default_factory=dict)
    late: LateConfig = dataclasses.field(default_factory=LateConfig)
    centres: Centres = dataclasses.field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides an embedding: architecture, preprocessing, parameters, statistics; not TRSM."""
        fields = dataclasses.asdict(self.config).items()
        architecture = {k: v for k, v in fields if k not in NO_EFFECT and (k, v) not in ADDED.items()}
        digest = hashlib.sha256(json.dumps([architecture, self.preprocessing.to_dict()], sort_keys=True).encode())
        for name, tensor in sorted((_named(self.params) | _named(self.batch_stats, STATS_PREFIX)).items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensor, "<f4").tobytes())
        for domain, mean in sorted(self.centres.items()):
            digest.update(f"{CENTRE_PREFIX}{domain}".encode() + np.ascontiguousarray(mean, "<f4").tobytes())
        return digest.hexdigest()

    def embed_sketches(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b z"]:
        """Embed resized sketches, unit norm (zero where the encoder gives zero)."""
        return centred(self._run("sketch", images)[0], self.centres, "sketch")

    def embed_photos(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b z"]:
        """Embed resized photos, unit norm (zero where the encoder gives zero)."""
        return centred(self._run("photo", images)[0], self.centres, "photo")

    def embed_photos_with_tokens(
        self, images: UInt8[np.ndarray, "b h w 3"]
    ) -> tuple[Float32[np.ndarray, "b z"], Float16[np.ndarray, "b n d"]]:
        """Embed resized photos, and give their final-norm tokens too: what a pair scorer looks at."""
        embeddings, tokens = self._run("photo", images, tokens="float16")
        return centred(embeddings, self.centres, "photo"), tokens

    def sketch_tokens(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float16[np.ndarray, "b n d"]:
        """Give the final-norm tokens of resized sketches."""
        return self._run("sketch", images, tokens="float16")[1]

    def save(self, folder: Path) -> None:
        """Write the encoders into a folder; model.json comes last, and says that all is there."""
        from safetensors.numpy import save_file

        tensors = _named(self.params) | _named(self.batch_stats, STATS_PREFIX)
        if self.pair_module is not None:
            tensors |= _named(self.pair_module.params, TRSM_PREFIX)
        tensors |= {f"{CENTRE_PREFIX}{domain}": mean for domain, mean in self.centres.items()}
        tensors = {name: np.ascontiguousarray(x, np.float32) for name, x in tensors.items()}
        with replacing(folder / WEIGHTS) as temporary:
            save_file(tensors, temporary, metadata={"fingerprint": self.fingerprint})
        content = {
            "layout": 1,
            "fingerprint": self.fingerprint,
            "model": dataclasses.asdict(self.config),
            "preprocessing": self.preprocessing.to_dict(),
            "late": dataclasses.asdict(self.late),
            "trsm": None if self.pair_module is None else dataclasses.asdict(self.pair_module.config),
            "origin": dict(self.origin),
        }
        write_json(folder / MODEL, content)

    @cached_property
    def _mesh(self) -> Mesh:
        return make_mesh()

    @cached_property
    def _on_mesh(self) -> tuple[Params, Params]:
        return jax.device_put((self.params, self.batch_stats), replicated(self._mesh))

    def _run(self, domain: str, images: UInt8[np.ndarray, "b h w 3"], *, tokens: str = "") -> list[np.ndarray]:
        """Encode pictures, filled up to a power of two for each device, so that few shapes are compiled."""
        if images.dtype != np.uint8:
            raise ValueError(f"pictures must be 8-bit RGB, as `resize` gives them, not {images.dtype}.")
        size = self._mesh.size << max(0, -(-len(images) // self._mesh.size) - 1).bit_length()
        filled = np.pad(images, ((0, size - len(images)), (0, 0), (0, 0), (0, 0)))
        program = EncodeProgram(self.config, self.preprocessing, self._mesh, tokens=tokens)
        program.refuse_filling(size - len(images))
        params, batch_stats = (encoder_of(tree, domain) for tree in self._on_mesh)
        encoded = program(params, batch_stats, put_batch({"images": filled}, self._mesh)["images"])
        return [program.fetch(x)[: len(images)] for x in encoded]


def read_encoders(folder: str | os.PathLike[str]) -> Encoders:
    """Read what `Encoders.save` wrote.

    Raises:
        ValueError: files that are missing, damaged, or not written together.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(folder)
    try:
        content = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        config, preprocessing = read_model_config(content["model"]), Preprocessing.from_dict(content["preprocessing"])
        origin, fingerprint = content["origin"], content["fingerprint"]
        with safe_open(folder / WEIGHTS, "numpy") as file:
            theirs = (file.metadata() or {}).get("fingerprint")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        scorer, batch_stats = _take(TRSM_PREFIX, tensors), _take(STATS_PREFIX, tensors)
        centres = {n.removeprefix(CENTRE_PREFIX): tensors.pop(n) for n in [*tensors] if n.startswith(CENTRE_PREFIX)}
        params = _take("", tensors)
        late = LateConfig(**content.get("late", {}))
        pair_module = PairModule(read_trsm_config(content["trsm"]), scorer) if content.get("trsm") else None
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ValueError(f"{folder} does not hold encoders that can be read: {error}") from error
    if theirs != fingerprint:
        raise ValueError(f"{folder} mixes two models: {WEIGHTS} and {MODEL} were not written together.")
    encoders = Encoders(config, preprocessing, params, origin, pair_module, batch_stats, late, centres)
    encoders.__dict__["fingerprint"] = fingerprint  # as it was when saved; hashing all weights would cost a second
    return encoders


def read_fingerprint(folder: str | os.PathLike[str]) -> str:
    """Read which encoders a folder holds, without reading them.

    Raises:
        ValueError: there are none.
    """
    try:
        return str(json.loads((Path(folder) / MODEL).read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} does not hold encoders that can be read: {error}") from error


def read_model_config(fields: Mapping[str, Any]) -> ModelConfig:
    """Read a stored architecture.

    Raises:
        ValueError: fields that this version does not know, or values it cannot build.
    """
    return from_mapping({"model": dict(fields)}).model


def read_trsm_config(fields: Mapping[str, Any]) -> TrsmConfig:
    """Read what is stored of TRSM; before a weight could be chosen, an index scored pairs by TRSM alone.

    Raises:
        TypeError: fields that this version does not know.
    """
    known: dict[str, Any] = {**fields, **({} if "choose_weight" in fields else {"weight": 1.0})}
    return TrsmConfig(**known)


def _named(tree: Params, prefix: str = "") -> dict[str, Any]:
    """Name each tensor by its path, such as `encoder.backbone.blocks.0.attn.qkv.kernel`."""
    return {prefix + ".".join(map(str, path)): x for path, x in flatten(tree).items()}


def _take(prefix: str, tensors: dict[str, np.ndarray]) -> Params:
    """Undo `_named` and take what was found out of `tensors`; numbers are the places of a list of layers."""
    chosen = {name: tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}
    named = {tuple(int(k) if k.isdigit() else k for k in n[len(prefix) :].split(".")): x for n, x in chosen.items()}
    return nest(named)
