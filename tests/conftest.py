"""How all tests compute: exact float32 products, and compiled programs made quickly and only once.

Parity needs real float32 products, also where the default is TF32 or bfloat16. Most of the time of a test of a tiny
model goes into compiling it, so the compiler does not optimise, and each worker and the programs that it starts share
what they have compiled. The variables stand before the first import of jax, which reads them.
"""

import atexit
import os
import shutil
import tempfile

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="effnet_jax_tests_")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax  # noqa: E402

jax.config.update("jax_default_matmul_precision", "float32")
