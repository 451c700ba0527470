"""The effnet-jax program: its commands, and what a failure looks like on the terminal.

Each command is a function in a file of its own, whose heavy imports stand inside it, so that --help is instant.
Exit status: 0 done, 1 failed or found faults, 2 wrong usage, 130 interrupted.
"""

import sys

import typer

from effnet_jax.cli import convert, export

app = typer.Typer(
    name="effnet-jax",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Check sketch-photo data, compare runs, convert weights, and search your own photos with a sketch.",
)

app.command("convert", epilog=convert.EPILOG)(convert.convert)
app.command("export", epilog=export.EPILOG)(export.export)


def main() -> None:
    """Run the program; what the library refuses becomes a sentence on standard error, not a traceback."""
    try:
        app()
    except ValueError as error:  # ConfigError, DataError, WeightsError and others are ValueErrors
        print(str(error), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
