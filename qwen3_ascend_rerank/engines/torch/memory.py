"""A device's memory: how much one pass may take of it, and what running out of it looks like."""

from __future__ import annotations

from typing import Any

from ...errors import EngineError, described

MOST_TOKENS = 16_384
"""Of one pass, on accelerators that have the memory."""
CPU_TOKENS = 4096
"""The same on a CPU while many calls wait. Such passes are hardly faster than those of `FEW_TOKENS`
on a quiet machine, and by a quarter where something else takes a core now and then."""
FEW_TOKENS = 1024
"""The same while few calls wait, however long they are: who comes next waits for a pass's end."""
CALL_TOKENS = 256
"""What each waiting call adds to a pass, between these two."""
PATIENCE = 4
"""Passes that have memory enough before larger ones are tried again."""
MOST_PATIENCE = 1024
"""The same where larger ones have failed again and again."""
SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
"""How errors that have no class of their own say so: torch-npu's, and torch's on a CPU."""


class Budget:
    """Tokens of one pass: halved when memory runs out, doubled again when it has not for a while.

    Memory may be short for a moment, since another process has it, or for good.
    """

    def __init__(self, tokens: int, few: int | None = None) -> None:
        """Allow `tokens`.

        Args:
            tokens: the most.
            few: the most where few calls wait; None: no other than where many do.
        """
        self.tokens = self.most = tokens
        self._few = few
        self._patience = PATIENCE
        self._successes = 0
        self._grown = False

    def among(self, calls: int) -> int:
        """What there is for a pass while so many calls wait."""
        if self._few is None:
            return self.tokens
        return min(self.tokens, max(self._few, CALL_TOKENS * calls))

    def ran_out(self, tokens: int) -> None:
        """A pass of `tokens` found no memory."""
        self.tokens = max(1, min(self.tokens, tokens) // 2)
        if self._grown:
            self._patience = min(2 * self._patience, MOST_PATIENCE)
        self._successes, self._grown = 0, False

    def succeeded(self) -> None:
        """A pass went through."""
        self._successes += 1
        if self._successes < self._patience:
            return
        self._successes = 0
        if self.tokens < self.most:
            self.tokens, self._grown = min(2 * self.tokens, self.most), True
        else:
            self._patience, self._grown = PATIENCE, False


def budget(device: Any, dtype: Any, config: Any) -> Budget:
    """As many tokens as half of the free memory of `device` holds the activations of."""
    import torch

    if device.type == "cpu":
        return Budget(CPU_TOKENS, FEW_TOKENS)
    free, _ = getattr(torch, device.type).mem_get_info(device)
    heads = config.num_attention_heads * config.head_dim
    token = (4 * config.hidden_size + 3 * config.intermediate_size + 16 * heads) * dtype.itemsize
    return Budget(int(max(1, min(MOST_TOKENS, free // 2 // token))))


def take_from_files(model: Any) -> None:
    """Copy the weights of a model that is loaded to the CPU.

    They may lie in a file that is mapped into memory; whoever writes to that, as when a model is
    exchanged in place, would change the scores of the loaded one, or end the process.
    """
    for each in (*model.parameters(), *model.buffers()):
        each.data = each.data.clone()


def ran_out_of_memory(error: Exception) -> bool:
    """Whether `error` says that a device's memory is used up."""
    import torch

    # Newer torch has one class for all devices, older torch that of CUDA.
    kind = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
    says = str(error).lower()
    return isinstance(error, (kind, MemoryError)) or (
        isinstance(error, RuntimeError) and any(sign in says for sign in SIGNS)
    )


def out_of_memory(device: Any, tokens: int) -> EngineError:
    """What to say where not even one document fits."""
    return EngineError(
        f"{device} has no memory for a pass of {tokens} tokens, a single document; pass a lower "
        "max_length, or use a device with more free memory"
    )


def no_room(device: str | None, model: str, error: Exception) -> EngineError:
    """What to say where not even the model fits."""
    return EngineError(
        f"{device or 'the device'} has no memory for {model} ({described(error).splitlines()[0]}); "
        "free some, choose another device with engine_options, or a smaller model"
    )
