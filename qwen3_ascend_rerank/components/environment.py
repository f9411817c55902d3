"""Settings from the environment: ``QWEN3_RERANK_<NAME>``, each with an error that names it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ..checks import nearest
from ..errors import InvalidInputError

logger = logging.getLogger("qwen3_ascend_rerank")

ENVIRONMENT_PREFIX = "QWEN3_RERANK_"
OTHERS = ("CACHE", "GATE", "READY")
"""What is no setting, and read elsewhere; the last two by servers that `serve` starts."""
UNSHOWN = ("api_key", "engine_options", "base_url")
"""Settings whose values may hold secrets."""

_warned: set[str] = set()


def from_environment(
    fields: Mapping[str, FieldInfo],
    checks: Mapping[str, Callable[[Any], object]],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """The settings of `fields` that the environment has and `given` has not; empty ones count not.

    A server's key is taken only where there is a server. `checks` raise for a value that cannot be
    used.

    Raises:
        InvalidInputError: a value that cannot be used, with the variable's name.
    """
    _warn_of_unknown(fields)
    texts = {name: os.environ.get(ENVIRONMENT_PREFIX + name.upper()) for name in fields}
    found = {
        name: _read(name, fields[name], checks.get(name), text)
        for name, text in texts.items()
        if text and name not in given
    }
    if given.get("base_url", found.get("base_url")) is None:
        found.pop("api_key", None)
    return found


def _read(name: str, field: FieldInfo, check: Callable[[Any], object] | None, text: str) -> Any:
    try:
        value = json.loads(text) if field.annotation == dict[str, Any] else text
        value = TypeAdapter(cast("type[Any]", field.annotation)).validate_python(value)
        if check is not None:
            check(value)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
    except json.JSONDecodeError as error:
        why = f"give a JSON object ({error.msg}, column {error.colno})"
    except InvalidInputError as error:
        why = str(error)
    else:
        return value
    shown = "a value that is not shown" if name in UNSHOWN else repr(text)
    variable = ENVIRONMENT_PREFIX + name.upper()
    raise InvalidInputError(f"{variable} is {shown}, which cannot be {name}: {why}")


def _warn_of_unknown(names: Iterable[str]) -> None:
    """Tell once of variables that look like settings, and are none."""
    known = {name.upper() for name in (*names, *OTHERS)}
    present = {name for name in os.environ if name.upper().startswith(ENVIRONMENT_PREFIX)}
    unknown = present - {ENVIRONMENT_PREFIX + name for name in known}
    for variable in sorted(unknown - _warned):
        near = nearest(variable[len(ENVIRONMENT_PREFIX) :], known)
        hint = f"; did you mean {ENVIRONMENT_PREFIX}{near}?" if near else ", and not read"
        logger.warning("the variable %s is no setting%s", variable, hint)
    _warned.intersection_update(unknown)
    _warned.update(unknown)
