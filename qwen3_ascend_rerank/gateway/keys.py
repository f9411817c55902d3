"""Who may come in: a key, or several with names, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from ..checks import described
from ..errors import InvalidInputError

_HEADERS = ("x-api-key", "api-key")
"""Where a key may stand beside ``Authorization: Bearer``."""


class Keys:
    """The keys that open the gateway; without any, it is open to whoever reaches it."""

    def __init__(self, keys: Mapping[str, SecretStr] | None = None) -> None:
        """Keep their digests, not the keys.

        Args:
            keys: a name for the log, and the key.
        """
        self._digests = [
            (name, _digest(key.get_secret_value())) for name, key in (keys or {}).items()
        ]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def owner(self, headers: Mapping[str, str]) -> str | None:
        """The name of the key that a request brings; None if it brings none of these.

        It takes as long whichever key it is, and whether it is one.
        """
        given, found = _digest(_given(headers)), None
        for name, digest in self._digests:
            if hmac.compare_digest(given, digest):
                found = name
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()


def _given(headers: Mapping[str, str]) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    if scheme and not key:  # some clients leave the scheme to whoever sets them up
        return scheme
    return next((headers[name].strip() for name in _HEADERS if name in headers), "")


def named_keys(lines: Sequence[str]) -> dict[str, SecretStr]:
    """The keys of a file: one a line, alone or after a name; what begins with ``#`` is none.

    Raises:
        InvalidInputError: a line of more than a name and a key, or a name or a key that comes
            twice. No key is repeated.
    """
    keys: dict[str, SecretStr] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 2:
            raise InvalidInputError(
                f"line {number} of the API key file has {len(words)} words; write a key, or a name "
                "and a key"
            )
        name = words[0] if len(words) == 2 else f"key-{number}"
        known = {one.get_secret_value() for one in keys.values()}
        if name in keys or words[-1] in known:
            what = described(name) if name in keys else "a key"
            raise InvalidInputError(f"line {number} of the API key file has {what} a second time")
        keys[name] = SecretStr(words[-1])
    return keys
