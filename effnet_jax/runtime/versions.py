"""Which Python, packages and devices a program runs with."""

import importlib.metadata
import platform
from typing import Any

import jax

PACKAGES = ("effnet_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "pillow")


def versions() -> dict[str, Any]:
    """Tell which Python, packages and devices a run uses."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": found,
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in jax.devices()],
        "hosts": jax.process_count(),
    }
