"""The doctor: examines a folder of sketches and photos, and says what is wrong with it. No JAX."""

from effnet_jax.doctor.examine import Examination, examine
from effnet_jax.doctor.findings import KINDS, Finding, Report
from effnet_jax.doctor.listing import Listing, list_folder, list_splits
from effnet_jax.doctor.published import published_counts

__all__ = [
    "KINDS",
    "Examination",
    "Finding",
    "Listing",
    "Report",
    "examine",
    "list_folder",
    "list_splits",
    "published_counts",
]
