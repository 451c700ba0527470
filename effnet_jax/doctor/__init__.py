"""The doctor: examines a folder of sketches and photos, and says what is wrong with it. No JAX."""

from effnet_jax.doctor.examine import examine
from effnet_jax.doctor.listing import list_folder

__all__ = ["examine", "list_folder"]
