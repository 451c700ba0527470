"""Parity needs real float32 products, also where the default is TF32 or bfloat16."""

import jax

jax.config.update("jax_default_matmul_precision", "float32")
