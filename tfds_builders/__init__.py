"""The data sets as TFDS builders: `import tfds_builders` registers them with TensorFlow Datasets."""

import importlib
import pkgutil

DATASETS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg))

for _name in DATASETS:
    importlib.import_module(f"tfds_builders.{_name}.{_name}_dataset_builder")
