import pytest

from effnet_jax.cli.parsing import config_first


@pytest.mark.parametrize("config", [["--config", "a.py"], ["--config=a.py"], ["-config", "a.py"]])
def test_the_file_of_a_configuration_is_read_before_its_overrides(config):
    before, after = ["--workdir", "x", "--config.data.dir=y"], ["--mode=evaluate"]
    assert config_first(["main.py", *before, *config, *after]) == ["main.py", *config, *before, *after]


@pytest.mark.parametrize("argv", [["main.py"], ["main.py", "--config.data.dir=y"], ["main.py", "--workdir=x"]])
def test_without_one_nothing_moves(argv):
    assert config_first(argv) == argv


def test_a_file_that_is_left_out_stays_left_out():
    assert config_first(["main.py", "--workdir=x", "--config"]) == ["main.py", "--workdir=x", "--config"]
