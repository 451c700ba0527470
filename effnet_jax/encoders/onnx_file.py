"""Encoders to ONNX by jax2onnx, kept only where ONNX Runtime computes what the live encoder does."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from effnet_jax.storage.files import replacing
from effnet_jax.weights.errors import WeightsError

Embed = Callable[[UInt8[Array, "b h w 3"]], Float[Array, "b z"]]


def write_onnx(path: Path, embed: Embed, image_size: int, name: str, *, tolerance: float) -> float:
    """Write a function of resized 8-bit images as an ONNX file for any batch size.

    Args:
        path: of the file.
        embed: images to embeddings; can be traced.
        image_size: edge of the images, pixels.
        name: of the architecture, for messages.
        tolerance: largest difference that is accepted, over the largest value.

    Returns:
        The largest difference between ONNX Runtime and the live function on random images, over the largest value.

    Raises:
        WeightsError: the converter is not installed, cannot convert the architecture, or the file computes something
            else; nothing is written.
    """
    try:
        import onnxruntime
        from jax2onnx import to_onnx
    except ImportError as error:
        raise WeightsError(
            f"writing ONNX needs a converter that is not installed ({error}); in an environment of its own, "
            'pip install -e ".[onnx]" in the checkout (it holds orbax-checkpoint back), or export stablehlo.'
        ) from error
    images = np.random.default_rng(0).integers(0, 256, (2, image_size, image_size, 3), np.uint8)
    live = np.asarray(jax.jit(embed)(images))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.onnx"
        spec = jax.ShapeDtypeStruct(("B", image_size, image_size, 3), np.uint8)  # pyrefly: ignore
        try:
            to_onnx(embed, [spec], return_mode="file", output_path=str(made))
            session = onnxruntime.InferenceSession(str(made), providers=["CPUExecutionProvider"])
            got = session.run(None, {session.get_inputs()[0].name: images})[0]
        except Exception as error:  # a converter fails in many ways
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            raise WeightsError(f"jax2onnx cannot convert {name} ({reason}); export stablehlo instead.") from error
        off = float(np.abs(live - got).max() / max(1.0, np.abs(live).max()))
        if not off <= tolerance:
            raise WeightsError(
                f"{path} would be off by {off:.2g} from the live encoder, more than {tolerance}: jax2onnx does not "
                f"convert {name} faithfully. Not written; export stablehlo instead."
            )
        with replacing(path) as temporary:
            temporary.write_bytes(made.read_bytes())
    return off
