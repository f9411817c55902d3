"""Options that several commands have: the settings, with the environment behind them."""

from __future__ import annotations

import json
from typing import Any

import typer

from ..components.settings import ENVIRONMENT_PREFIX, RerankSettings

SETTINGS = f"Settings, also from the environment as {ENVIRONMENT_PREFIX}<NAME>"


def setting(name: str, panel: str = SETTINGS) -> Any:
    """The option for a field of `RerankSettings`, with the environment behind it."""
    description = RerankSettings.model_fields[name].description or ""
    return typer.Option(
        help=description,
        envvar=ENVIRONMENT_PREFIX + name.upper(),
        show_envvar=False,
        rich_help_panel=panel,
    )


def default(name: str) -> Any:
    """Its value where neither the command line nor the environment gives one."""
    return RerankSettings.model_fields[name].get_default()


def json_object(name: str, text: str) -> dict[str, Any]:
    """What `text`, the value of option `name`, says."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{name} is {text!r}; give a JSON object")
    return value
