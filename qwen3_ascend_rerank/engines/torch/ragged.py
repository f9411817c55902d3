"""Attention over prompts of any lengths, one behind the other, without rows and padding.

Flash attention takes them so: on CUDA, in half precision.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from .attention import Groups, Prompt, Shapes, as_tensor

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

TOLERANCE = 0.02
"""How far a kernel for half precision may lie from float32; values are of about 1."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """All prompts of a pass."""

    places: torch.Tensor
    """Where the keys and values of each prompt are, shape (keys,)."""
    starts: torch.Tensor
    """Where its queries start among those of the pass, and the end, shape (prompts + 1,), int32."""
    key_starts: torch.Tensor
    """Where its keys start in `places`, and the end, shape (prompts + 1,), int32."""
    longest: int
    """Most queries of a prompt."""
    longest_keys: int

    @classmethod
    def of(cls, prompts: Sequence[Prompt], device: torch.device) -> Ragged:
        """`prompts` in the order in which their own tokens are."""
        import torch

        def starts(lengths: Sequence[int]) -> torch.Tensor:
            made = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
            return made.to(device, non_blocking=True)

        own, whole = [len(prompt.own) for prompt in prompts], [len(prompt) for prompt in prompts]
        places = as_tensor(part for prompt in prompts for part in (*prompt.before, prompt.own))
        return cls(
            places.to(device, non_blocking=True),
            starts(own),
            starts(whole),
            max(own),
            max(whole),
        )

    def __call__(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Each token attends to those before it in its prompt; (tokens, heads, head_dim)."""
        return _attend_ragged(queries, keys[self.places], values[self.places], self)


def _attend_ragged(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, ragged: Ragged
) -> torch.Tensor:
    """By the operator that ``torch.nn.attention.varlen`` calls, from torch 2.10 on.

    It is older than that module, takes fewer heads of keys than of queries in every release, and
    lets the last query of a prompt see its last key.
    """
    import torch

    attended: torch.Tensor = torch.ops.aten._flash_attention_forward(
        queries,
        keys,
        values,
        ragged.starts,
        ragged.key_starts,
        ragged.longest,
        ragged.longest_keys,
        0.0,  # dropout
        True,  # causal
        False,  # no mask to look at
    )[0]
    return attended


def ragged_works(device: torch.device, dtype: torch.dtype, config: Any) -> bool:
    """Whether this torch attends to ragged prompts on `device`, and rightly.

    Two prompts of which one has a part before its own tokens are compared with the plain formula.
    """
    import torch

    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    prompts = [Prompt([], range(20)), Prompt([range(20)], range(20, 53))]
    noise = torch.Generator().manual_seed(0)

    def draw(heads: int) -> torch.Tensor:
        drawn = torch.randn(53, heads, config.head_dim, generator=noise)
        return drawn.to(device, dtype)

    queries = draw(config.num_attention_heads)
    keys, values = draw(config.num_key_value_heads), draw(config.num_key_value_heads)
    ragged = Ragged.of(prompts, device)
    try:
        found = ragged(queries, keys, values)
    except (RuntimeError, TypeError) as error:
        logger.info("no attention of ragged prompts here: %s", error)
        return False
    exact = Groups.of(prompts, 53, Shapes(attention="masked"), device, torch.float32)
    difference = (found.float() - exact(queries.float(), keys.float(), values.float())).abs().max()
    if not difference <= TOLERANCE:
        logger.warning("attention of ragged prompts is wrong here, by %.2g; not used", difference)
        return False
    return True
