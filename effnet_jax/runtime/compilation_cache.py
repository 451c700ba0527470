"""Compiled programs kept on disk, so that the same run starts quickly the second time."""

from pathlib import Path

import jax

DEFAULT = "~/.cache/effnet_jax/xla"


def use_compilation_cache(folder: str = "auto") -> str:
    """Let XLA keep what took it a second or more to compile.

    Args:
        folder: "auto" is ~/.cache/effnet_jax/xla on GPUs and TPUs and none on CPU, whose compiled code runs only on
            processors like the one that made it; a folder that jax has already, by JAX_COMPILATION_CACHE_DIR or
            otherwise, goes before that. "" is none.

    Returns:
        The folder in use, "" for none.
    """
    if folder == "auto":
        already = jax.config.values["jax_compilation_cache_dir"]
        if already or jax.default_backend() == "cpu":
            return str(already or "")
        folder = DEFAULT
    found = str(Path(folder).expanduser().absolute()) if folder else ""
    jax.config.update("jax_compilation_cache_dir", found or None)
    return found
