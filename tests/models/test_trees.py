import numpy as np

from effnet_jax.models.trees import flatten, nest


def test_nest_undoes_flatten_whatever_the_keys():
    tree = {"blocks": {0: {"kernel": np.ones(2)}, 10: {"kernel": np.zeros(2)}}, "scale": 3.0}
    flat = flatten(tree)
    assert list(flat) == [("blocks", 0, "kernel"), ("blocks", 10, "kernel"), ("scale",)]
    assert flat["blocks", 0, "kernel"] is tree["blocks"][0]["kernel"]
    assert nest(flat) == tree
    assert nest({}) == flatten({}) == {}
