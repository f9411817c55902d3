"""Where the API key comes from, and how a shell can be told without showing it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from ..engines.served.address import API_KEY_VARIABLE, checked_api_key
from ..errors import InvalidInputError
from .keys import named_keys

VARIABLE = "VLLM_API_KEY"
"""Where vLLM looks for it."""
VARIABLES = (API_KEY_VARIABLE, VARIABLE)
"""Where it is looked for here; the first that is set counts."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What clients must send as a bearer token."""

    value: SecretStr
    shell: str
    """What gives it in a shell."""


def find_key(file: Path | None, environ: Mapping[str, str] | None = None) -> ApiKey | None:
    """The key in `file`, else in the environment; None where there is none.

    Raises:
        InvalidInputError: the file cannot be read or is empty; or the key cannot be sent. It is
            not repeated.
    """
    environ = os.environ if environ is None else environ
    if file is not None:
        key = checked_api_key(_read(file))
        if key is None:
            raise InvalidInputError(f"the API key file {file} is empty; put the key into it")
        return ApiKey(key, f'"$(cat {shlex.quote(str(file))})"')
    for name in VARIABLES:
        if key := checked_api_key(environ.get(name, "").strip()):
            return ApiKey(key, f'"${name}"')
    return None


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of all who may come in."""

    keys: Mapping[str, SecretStr]
    """By their names in the log."""
    shell: str | None
    """What gives one of them in a shell; None where there is none."""


def find_keys(file: Path | None, environ: Mapping[str, str] | None = None) -> Keyring:
    """The keys in `file`, one a line, each alone or after a name; else that of the environment.

    Raises:
        InvalidInputError: as `find_key` does; or a line that is none of these.
    """
    if file is None:
        key = find_key(None, environ)
        return Keyring({"key": key.value}, key.shell) if key else Keyring({}, None)
    keys = named_keys(_read(file).splitlines())
    for one in keys.values():
        checked_api_key(one)
    if not keys:
        raise InvalidInputError(f"the API key file {file} is empty; put a key into it")
    only = len(keys) == 1 and len(_read(file).split()) == 1
    return Keyring(keys, f'"$(cat {shlex.quote(str(file))})"' if only else '"$KEY"')


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidInputError(
            f"the API key file {file} cannot be read: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"the API key file {file} is not a text file") from None
