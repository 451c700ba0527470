import os
import subprocess
import sys
import textwrap

PROGRAM = """
import sys
from effnet_jax.runtime.compilation_cache import use_compilation_cache
print("folder:", use_compilation_cache(sys.argv[1]))
import jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(float(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((4, 4))).sum()))
"""


def run(folder, **environment):
    variables = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": "", **environment}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), folder],
        env=os.environ | variables, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[0]


def test_a_folder_is_filled_and_none_and_auto_on_cpu_keep_nothing(tmp_path):
    assert run(str(tmp_path / "xla")) == f"folder: {tmp_path / 'xla'}"
    assert any((tmp_path / "xla").iterdir())
    home = tmp_path / "home"
    for folder in ("", "auto"):
        assert run(folder, HOME=str(home)) == "folder: "
    assert not home.exists()


def test_the_environment_goes_before_auto(tmp_path):
    assert run("auto", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own")) == f"folder: {tmp_path / 'own'}"
    assert any((tmp_path / "own").iterdir())
