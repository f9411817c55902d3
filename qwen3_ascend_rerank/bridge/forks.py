"""What a forked child must make anew: locks that another thread held, threads that stayed behind.

A child has its parent's memory but only the thread that forked. So whatever holds a lock, a thread,
a loop or the calls of other threads says here how it begins again.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

_renewals: list[Callable[[], None]] = []
_owners: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def in_child(renewal: Callable[[], None]) -> Callable[[], None]:
    """Run `renewal` first thing in every forked child; may decorate a function of a module."""
    _renewals.append(renewal)
    return renewal


def renewed_in_child(owner: Any, renewal: Callable[[Any], None]) -> None:
    """Run ``renewal(owner)`` first thing in every forked child, as long as `owner` lives."""
    _owners[owner] = renewal


def _renew() -> None:
    for renewal in _renewals:
        renewal()
    for owner, renew in list(_owners.items()):
        renew(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
