"""The effnet-jax program: its commands, and what a failure looks like on the terminal.

Each command is a function in a file of its own, whose heavy imports stand inside it, so that --help is instant.
Exit status: 0 done, 1 failed or found faults, 2 wrong usage, 130 interrupted.
"""

import os
import sys
from typing import Any

import typer
import typer.core

from effnet_jax.cli import check_data, compare, convert, draw, embed, export, export_index, figures, prepare, search
from effnet_jax.runtime.memory import out_of_memory


class Commands(typer.core.TyperGroup):
    """Our commands; Ctrl-C is said, which typer by itself leaves silent."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            print(str(stopped) or "interrupted", file=sys.stderr)
            raise typer.Exit(130) from stopped


app = typer.Typer(
    name="effnet-jax",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Check sketch-photo data, draw sketches from photos, compare runs, convert weights, and search your own "
    "photos with a sketch.",
)

app.command("check-data", epilog=check_data.EPILOG)(check_data.check_data)
app.command("prepare", epilog=prepare.EPILOG)(prepare.prepare)
app.command("draw", epilog=draw.EPILOG)(draw.draw)
app.command("compare", epilog=compare.EPILOG)(compare.compare)
app.command("embed", epilog=embed.EPILOG)(embed.embed)
app.command("search", epilog=search.EPILOG)(search.search)
app.command("export-index", epilog=export_index.EPILOG)(export_index.export_index)
app.command("figures", epilog=figures.EPILOG)(figures.figures)
app.command("report", epilog=figures.REPORT_EPILOG)(figures.report)
app.command("convert", epilog=convert.EPILOG)(convert.convert)
app.command("export", epilog=export.EPILOG)(export.export)


def home_expanded(argument: str) -> str:
    """Expand ~ behind the = of `--out=~/figures` and `NAME=~/runs/a`, as no shell does."""
    name, equals, value = argument.partition("=")
    return f"{name}={os.path.expanduser(value)}" if equals and value.startswith("~/") else argument


def main() -> None:
    """Run the program; what the library refuses becomes a sentence on standard error, not a traceback."""
    try:
        app(args=[home_expanded(argument) for argument in sys.argv[1:]])
    except (ValueError, OSError, RuntimeError) as error:
        if not (sentence := sentence_of(error)):
            raise
        print(sentence, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def sentence_of(error: ValueError | OSError | RuntimeError) -> str:
    """Give what the user can do something about in words; nothing for a mistake of the program itself."""
    if isinstance(error, RuntimeError):
        return out_of_memory(error)
    if isinstance(error, OSError) and error.strerror and (named := error.filename2 or error.filename):
        return f"{named}: {error.strerror}"  # a folder where a file should be, no space, no permission
    return str(error)  # ConfigError, DataError, WeightsError and others are ValueErrors


if __name__ == "__main__":
    main()
