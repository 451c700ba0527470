"""Read the flags of main.py: `--help` that helps, and sentences for what cannot be used."""

import sys

from absl import app, flags

USAGE = 2  # exit status


def parse(argv: list[str]) -> list[str]:
    """Parse flags; what the configuration does not have is a sentence, not a traceback.

    Args:
        argv: the program's name and its arguments.

    Returns:
        What is no flag, the program's name first.

    Raises:
        SystemExit: after the help was printed, or with USAGE after a sentence that says what cannot be used.
    """
    if len(argv) == 1:
        print(sys.modules["__main__"].__doc__)
        sys.exit(USAGE)
    if {"-h", "-help", "--help"} & set(argv):
        app.usage(writeto_stdout=True)
        sys.exit(0)
    try:
        sys.argv[:] = config_first(argv)  # where ml_collections looks for the file of a configuration
        return flags.FLAGS(sys.argv, known_only=False)
    except (AttributeError, KeyError, TypeError, ValueError, flags.Error) as error:
        from effnet_jax.config_reader import unknown_fields

        reason = "; ".join(unknown_fields(argv)) or str(error)
        sys.exit(say(f"the flags cannot be used: {reason}\nSee python main.py --help.", USAGE))


def config_first(argv: list[str]) -> list[str]:
    """Put `--config` before all other flags: its overrides are read as they come, and need the file first.

    Example:
        >>> config_first(["main.py", "--config.train.epochs=2", "--config", "configs/demo.py"])
        ['main.py', '--config', 'configs/demo.py', '--config.train.epochs=2']
    """
    place = next((i for i, flag in enumerate(argv) if flag.split("=")[0] in ("-config", "--config")), None)
    end = 0 if place is None else place + (1 if "=" in argv[place] else 2)
    if place is None or end > len(argv):  # without a value it is refused where it stands
        return argv
    return [argv[0], *argv[place:end], *argv[1:place], *argv[end:]]


def say(message: str, status: int) -> int:
    """Print a sentence, if any, for the user to read, and give back the exit status that goes with it."""
    print(message, file=sys.stderr, end="\n" if message else "")
    return status
