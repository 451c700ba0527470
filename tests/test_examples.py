"""Every public function and class of these modules shows an example in its docstring, and it gives what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

import effnet_jax.models

MODULES = (
    "effnet_jax.losses",
    "effnet_jax.blockwise",
    *(
        f"effnet_jax.retrieval.{name}"
        for name in ("difference", "intervals", "late_interaction", "metrics", "ranking", "scores", "top_k")
    ),
    *(f"effnet_jax.models.{path.stem}" for path in sorted(Path(effnet_jax.models.__path__[0]).glob("[!_]*.py"))),
)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_and_class_has_an_example_that_holds(name):
    module = importlib.import_module(name)
    public = {
        key: value
        for key, value in vars(module).items()
        if callable(value) and not key.startswith("_") and getattr(value, "__module__", None) == name
    }
    assert public
    parser, runner, said = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False), []
    examples = {
        key: parser.get_doctest(value.__doc__ or "", vars(module), key, name, 0) for key, value in public.items()
    }
    silent = [key for key, example in examples.items() if not any(line.want for line in example.examples)]
    assert silent == [], "show no example with its result"
    for example in examples.values():
        runner.run(example, out=said.append)
    assert not said, "".join(said)
