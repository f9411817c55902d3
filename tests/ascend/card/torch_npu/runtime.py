"""``torch.npu``: the device as its users ask about it. There is one stream.

It is always finished, but waiting for it tells whether the host wrote into what was being copied.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from typing import Any

import torch

from . import chip
from .placeholders import Anything, Placeholder

OPERATORS = torch.ops.npu_stand_in
"""The compiled device."""


class Stream:
    """A queue of work: it is done when it is put in."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.npu_stream = self.stream_id = self.device_index = 0
        self.device = torch.device("npu:0")

    def synchronize(self) -> None:
        OPERATORS.wait_for_all()

    def wait_stream(self, stream: Any) -> None: ...

    def wait_event(self, event: Any) -> None: ...

    def record_event(self, event: Any = None) -> Any:
        return event or Event()

    def query(self) -> bool:
        return True


class Event:
    """A mark in a queue."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self._copy = 0

    def record(self, stream: Any = None) -> None:
        self._copy = OPERATORS.last_copy()

    def wait(self, stream: Any = None) -> None: ...

    def reset(self, stream: Any = None) -> None: ...

    def synchronize(self) -> None:
        OPERATORS.wait_for(self._copy)

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: Any) -> float:
        return 0.0


def module(device: Any) -> types.ModuleType:
    """The module, over the compiled `device`."""
    made = types.ModuleType("torch.npu")
    stream = Stream()

    def mem_get_info(_: Any = None) -> tuple[int, int]:
        """Free bytes, and all."""
        return device.limit() - device.used(), device.limit()

    def memory_stats(_: Any = None) -> dict[str, int]:
        return {
            "allocated_bytes.all.current": device.used(),
            "allocated_bytes.all.peak": device.peak(),
            "reserved_bytes.all.current": device.used(),
        }

    @contextlib.contextmanager
    def use_stream(_: Any) -> Iterator[None]:
        yield

    def set_device(wanted: Any) -> None:
        torch.empty(
            0,
            device=torch.device("npu", torch.device(wanted).index or 0)
            if not isinstance(wanted, int)
            else torch.device("npu", wanted),
        )

    def nothing(*_: Any, **__: Any) -> None: ...

    for name, value in {
        "Stream": Stream,
        "Event": Event,
        "ExternalEvent": Event,
        "current_stream": lambda *_: stream,
        "default_stream": lambda *_: stream,
        "stream": use_stream,
        "set_stream": nothing,
        "get_amp_supported_dtype": lambda: [torch.float16, torch.bfloat16],
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda: not chip.is_310p(),
        "_is_in_bad_fork": lambda: False,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": set_device,
        "device": lambda *_: contextlib.nullcontext(),
        "get_device_name": lambda *_: chip.NAME,
        "get_soc_version": lambda: chip.NUMBERS[chip.NAME],
        "get_device_properties": lambda *_: types.SimpleNamespace(
            name=chip.NAME, total_memory=device.limit(), multi_processor_count=20, cube_core_num=20,
            vector_core_num=40, L2_cache_size=192 << 20, uuid="stand-in",
        ),
        "mem_get_info": mem_get_info,
        "memory_stats": memory_stats,
        "synchronize": lambda *_: OPERATORS.wait_for_all(),
        "config": Anything(),
        "memory": Placeholder("torch.npu.memory"),  # pools, for engines that are put to sleep
        "NPUGraph": Anything,
        "is_current_stream_capturing": lambda: False,
        "memory_allocated": lambda *_: device.used(),
        "max_memory_allocated": lambda *_: device.peak(),
        "memory_reserved": lambda *_: device.used(),
        "reset_peak_memory_stats": lambda *_: device.reset_peak(),
        **dict.fromkeys(
            ("empty_cache", "init", "manual_seed", "manual_seed_all",
             "seed", "seed_all", "set_compile_mode", "set_option"),
            nothing,
        ),
    }.items():  # fmt: skip
        setattr(made, name, value)
    return made
