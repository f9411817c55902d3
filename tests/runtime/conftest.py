"""What the tests of this room, and of the doctor, share."""

import pytest

from tests.runtime.computers import Computer


@pytest.fixture
def computer(tmp_path):
    """A machine with nothing in it."""
    return Computer(tmp_path)
