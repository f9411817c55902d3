"""Reads the table that ``npu-smi info`` prints.

Every driver release lays it out a little differently, but a chip is always two rows: number, name
and health, and below them bus id and memory. Since 25.7 number and name have columns of their own;
since 26.0 a process has a second number, the one inside its container.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ROW = re.compile(r"\|.*\|")
"""A row that is whole, none of the rules between rows."""
_VERSION = re.compile(r"npu-smi\s+(\S+)")
_NUMBER_AND_NAME = re.compile(r"(\d+)\s+(\S.*)")
_HEALTH = re.compile(r"[A-Za-z]+")
_USED_OF_TOTAL = re.compile(r"(\d+)\s*/\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that holds memory of a chip."""

    pid: int
    """Its number outside any container."""
    name: str
    megabytes: int
    """Memory that it holds."""


@dataclass(slots=True)
class Chip:
    """One chip, which is one device for torch and vLLM; a card can have two."""

    npu: int
    """Number of its card, as ``npu-smi -i`` takes it."""
    name: str
    """``910B3``, ``Ascend910``, ``310P3``, …"""
    health: str
    """``OK``, ``Warning``, ``Alarm``, ``Critical`` or ``UNKNOWN``."""
    number: int = 0
    """Its number on the card, as ``npu-smi -c`` takes it."""
    used: int | None = None
    """Memory in use, in megabytes: the one on the chip where there are two kinds."""
    total: int | None = None
    """Memory that it has, in megabytes."""
    processes: list[Process] = field(default_factory=list)

    @property
    def in_use(self) -> float:
        """Share of its memory that is in use; 0 where that is not known."""
        return self.used / self.total if self.used is not None and self.total else 0.0


@dataclass(frozen=True, slots=True)
class Table:
    """What ``npu-smi info`` says."""

    version: str | None
    """Version of npu-smi, which is that of the driver it came with."""
    chips: tuple[Chip, ...]
    """In the order in which torch and ``ASCEND_RT_VISIBLE_DEVICES`` number them, from 0."""


def parse(text: str) -> Table:
    """The table in `text`; without chips where there is none."""
    version = _VERSION.search(text)
    chips: list[Chip] = []
    in_processes = begun = False
    for line in text.splitlines():
        if not _ROW.fullmatch(line.strip()):
            continue
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]
        if "Process id" in line:
            in_processes = True
        elif in_processes:
            _add_process(cells, chips)
        elif begun:
            _complete(chips[-1], cells)
            begun = False
        elif (chip := _begin(cells)) is not None:
            chips.append(chip)
            begun = True
    return Table(version and version[1], tuple(chips))


def _begin(cells: list[str]) -> Chip | None:
    if len(cells) > 4 or cells[-1].isdecimal():
        return None  # a process, whose table has lost its head
    number, *rest = _first_two_as_one(cells)
    named = _NUMBER_AND_NAME.fullmatch(number)
    if named is None or not rest or not _HEALTH.fullmatch(rest[0]):
        return None
    return Chip(npu=int(named[1]), name=named[2], health=rest[0])


def _complete(chip: Chip, cells: list[str]) -> None:
    number, *rest = _first_two_as_one(cells)
    if digits := re.match(r"\d+", number):
        chip.number = int(digits[0])
    # Where there is memory of the card and memory on the chip (HBM), the latter comes last.
    if pairs := _USED_OF_TOTAL.findall(rest[-1] if rest else ""):
        chip.used, chip.total = map(int, pairs[-1])


def _first_two_as_one(cells: list[str]) -> list[str]:
    """Number and name in one cell, as all but the newest releases have them."""
    return [" ".join(cells[:2]).strip(), *cells[2:]] if len(cells) > 3 else cells


def _add_process(cells: list[str], chips: list[Chip]) -> None:
    if len(cells) < 4 or not cells[1].isdecimal() or not cells[3].isdecimal():
        return
    place = [int(number) for number in re.findall(r"\d+", cells[0])]
    npu, number = (*place, 0)[:2] if place else (None, 0)
    for chip in chips:
        if (chip.npu, chip.number) == (npu, number):
            chip.processes.append(Process(int(cells[1]), cells[2], int(cells[3])))
