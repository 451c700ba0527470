"""The data sets as TFDS builders: `import tfds_builders` registers them with TensorFlow Datasets."""

import importlib

DATASETS = (
    "clothes_v1",
    "procedural_garments",
    "qmul_chair_v1",
    "qmul_chair_v2",
    "qmul_shoe_v1",
    "qmul_shoe_v2",
    "sketch_photo_folder",
)

for _name in DATASETS:
    importlib.import_module(f"tfds_builders.{_name}.{_name}_dataset_builder")
