"""The program around the commands: its options, and how it ends when something goes wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.core import TyperCommand, TyperGroup

from .. import __version__
from ..errors import RerankError
from .batch import batch
from .bench import bench
from .calibrate import calibrate
from .convert import convert
from .demo import demo
from .doctor import doctor
from .evaluate import evaluate
from .plan import plan
from .rank import rank
from .screen import print_error
from .selfcheck import selfcheck
from .serve import serve

INTERRUPTED = 130
"""Exit status of a program that Ctrl-C ended, as shells have it."""


class Program(TyperGroup):
    """Ends every command the way a user expects: one line that says why, and no traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            result = _invoked(super().invoke, ctx)
            sys.stdout.flush()  # so that a reader who has gone shows here and not at exit
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _forget_output()
            raise typer.Exit(1) from None
        except RerankError as error:
            print_error(str(error))
            raise typer.Exit(1) from None
        except ValidationError as error:
            print_error("; ".join(_described(error)))
            raise typer.Exit(1) from None
        return result


def _invoked(invoke: Callable[[Any], Any], ctx: Any) -> Any:
    """What a command gives; an error in a value says so if the environment gave it."""
    try:
        return invoke(ctx)
    except Exception as error:
        parameter, context = getattr(error, "param", None), getattr(error, "ctx", None)
        if parameter is not None and context is not None:  # click's, wherever typer has it from
            source = context.get_parameter_source(parameter.name)
            if getattr(source, "name", "") == "ENVIRONMENT":
                variable = parameter.envvar
                error.message = (  # type: ignore[attr-defined]
                    f"{variable} in the environment is {os.environ.get(variable)!r}; "
                    f"{getattr(error, 'message', error)}"
                )
        raise


class ServeCommand(TyperCommand):
    """Says to whoever gives vLLM's own options where they go."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if type(error).__name__ == "NoSuchOption":  # click's, wherever typer has click from
                option = getattr(error, "option_name", "--option")
                hint = f"if it is vLLM's, put it after --, as in: serve MODEL -- {option}"
                error.message = f"No such option: {option}; {hint}"  # type: ignore[attr-defined]
            raise


def _forget_output() -> None:
    """Let what is still to be written go nowhere, since nobody reads it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _described(error: ValidationError) -> list[str]:
    described = []
    for one in error.errors():
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, ValidationError):
            described += _described(cause)
        else:
            name = ".".join(map(str, one["loc"]))
            message = one["msg"] if cause is None else str(cause)
            described.append(f"{name}: {message}" if name else message)
    return described


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qwen3-rerank {__version__}")
        raise typer.Exit


def _program(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Say which version this is."
        ),
    ] = False,
) -> None:
    """Rerank passages with Qwen3-Reranker, on Ascend NPUs, GPUs or a CPU."""


app = typer.Typer(
    cls=Program,
    callback=_program,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(rank)
app.command()(batch)
app.command()(evaluate)
app.command()(demo)
app.command()(selfcheck)
app.command(cls=ServeCommand)(serve)
app.command()(doctor)
app.command()(bench)
app.command()(convert)
app.command()(calibrate)
app.command()(plan)
