"""What the tests of this room share."""

from tests.runtime.conftest import computer

__all__ = ["computer"]
