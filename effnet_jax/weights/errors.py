"""The one error of this package."""


class WeightsError(ValueError):
    """Weights that cannot be had, read or fitted; the message names the file and every tensor."""
