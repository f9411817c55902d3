"""Printing beside an event loop: in order, never waiting, and what is lost is told."""

import os
import threading
from collections.abc import Iterator

import pytest

from qwen3_ascend_rerank.commands.serve.printing import Printer


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read_lines(end: int, count: int) -> list[bytes]:
    found = b""
    while found.count(b"\n") < count:
        found += os.read(end, 65536)
    return found.splitlines()


def test_lines_come_in_their_order(pipe: tuple[int, int]) -> None:
    printer = Printer(pipe[1])
    wanted = [b"%d" % number for number in range(5000)]
    for line in wanted:
        printer.print([line])
    assert read_lines(pipe[0], 5000) == wanted
    printer.close(5)


def test_all_is_written_before_the_end(pipe: tuple[int, int]) -> None:
    printer = Printer(pipe[1])
    printer.print([b"x" * 1000] * 1000)
    reading = threading.Thread(target=read_lines, args=(pipe[0], 1000))
    reading.start()
    printer.close(30)
    reading.join(30)
    assert not reading.is_alive()


def test_what_nobody_reads_is_lost_and_counted(pipe: tuple[int, int]) -> None:
    printer = Printer(pipe[1], room=100_000)
    for _ in range(10):
        printer.print([b"x" * 999] * 100)  # returns at once: a pipe holds 64 KiB
    printer.close(0.1)
    found = read_lines(pipe[0], 100)
    assert 100 <= len(found) < 300
    printer = Printer(pipe[1], room=10)
    printer.print([b"much too long to be kept", b"also too long", b"short"])
    assert read_lines(pipe[0], 2)[-2:] == [b"-- 2 lines are lost: nobody read them", b"short"]
    printer.close(5)


def test_a_descriptor_that_is_not_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    printer = Printer(pipe[1])
    printer.print([b"x" * 999] * 300)
    assert len(read_lines(pipe[0], 300)) == 300
    printer.close(5)


def test_nobody_at_the_other_end_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    printer = Printer(write)
    printer.print([b"x"] * 10)
    printer.close(5)
    printer.print([b"x"] * 10)
    os.close(write)
