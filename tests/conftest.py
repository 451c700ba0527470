"""How all tests compute: exact float32 products, and compiled programs made quickly and only once.

Parity needs real float32 products, also where the default is TF32 or bfloat16. Most of the time of a test of a tiny
model goes into compiling it, so the compiler hardly optimises, and each worker and the programs that it starts share
what they have compiled. The variables stand before the first import of jax, which reads them.
"""

import atexit
import os
import shutil
import tempfile
from importlib.metadata import version

# Without any optimisation the fusion emitters give wrong numbers (1e36 in a VGG16), and later versions always use them.
old = version("jaxlib").startswith("0.10.")
flags = "optimization_level=0 --xla_cpu_use_fusion_emitters=false" if old else "optimization_level=1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_{flags}"
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="effnet_jax_tests_")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_default_matmul_precision", "float32")


@pytest.fixture
def unchecked():
    """Where shapes are wrong on purpose, our own message is what is tested, not jaxtyping's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session", autouse=True)
def data_sets():
    """The data sets of this checkout, which an installation may be older than."""
    from effnet_jax.data.builders import register_builders

    register_builders("tfds_builders")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run that was trained for two epochs; its data lie beside it. Copy it before changing anything in it."""
    # not above: what is imported before the tests start has no run-time checks of shapes
    from tiny import tiny_config, write_pairs

    from effnet_jax.run import train

    home = tmp_path_factory.mktemp("trained")
    data = write_pairs(home / "data", range(44), range(44, 56))
    train(tiny_config(data, home), home / "run")
    return home / "run"
