import jaxtyping
import pytest


@pytest.fixture
def unchecked():
    """Where shapes are wrong on purpose, our own message is what is tested, not jaxtyping's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
