"""Qwen3's forward pass over a `Layout`, with the modules of transformers.

Only the order of the steps is written here, so that a prefix is shared and nothing is padded; the
weights, norms, rotary embedding and MLPs are transformers' own. Source of the steps:
``transformers/models/qwen3/modeling_qwen3.py``, alike from 4.51 to 5.x.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...errors import EngineError, UnsupportedModelError
from .layout import Layout, lay_out
from .passes import Share

if TYPE_CHECKING:
    import torch

Kept = list[tuple[Any, Any]]
"""Keys and values of a prefix, layer by layer."""


class Body:
    """The loaded model."""

    def __init__(self, model: Any, head: torch.Tensor, name: str, step: int) -> None:
        """Take over transformers' bare model and the weights that read the score.

        Args:
            model: a ``Qwen3Model`` on its device.
            head: h · head is the log-odds, shape (hidden_size,), float32.
            name: what errors call it.
            step: see `lay_out`.

        Raises:
            UnsupportedModelError: it has layers that attend to a window only.
        """
        if any(layer.self_attn.sliding_window for layer in model.layers):
            raise UnsupportedModelError(
                f"{name} attends to a sliding window in some layers, as no Qwen3-Reranker does; "
                'use engine="vllm"'
            )
        self._model = model
        self._head = head
        self._step = step
        self._rotate = import_module("transformers.models.qwen3.modeling_qwen3")

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._head.device

    def run(self, shares: Sequence[Share]) -> list[list[float]]:
        """Log-odds of the documents of each share, in one pass.

        A prefix that later passes will need is kept with its call.
        """
        import torch

        with torch.inference_mode():
            layout = lay_out(shares, self.device, self._step)
            hidden, kept = self._forward(layout)
            values: list[float] = (hidden[layout.last].float() @ self._head).tolist()
        for share, pairs in zip(shares, kept, strict=True):
            share.call.kept = pairs if share.call.waiting else []
        found = iter(values)
        return [[next(found) for _ in share.rows] for share in shares]

    def _forward(self, layout: Layout) -> tuple[torch.Tensor, list[Kept]]:
        model = self._model
        hidden = model.embed_tokens(layout.tokens)
        turns = [turn[0] for turn in model.rotary_emb(hidden[None], layout.positions[None])]
        kept: list[Kept] = [list(share.call.kept) for share in layout.shares]
        for number, layer in enumerate(model.layers):
            attended = self._attention(
                layer.self_attn, number, layer.input_layernorm(hidden), turns, layout, kept
            )
            hidden = hidden + attended
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return model.norm(hidden), kept

    def _attention(
        self,
        module: Any,
        number: int,
        hidden: torch.Tensor,
        turns: Sequence[torch.Tensor],
        layout: Layout,
        kept: list[Kept],
    ) -> torch.Tensor:
        """The attention of one layer, (tokens, hidden_size)."""
        import torch

        heads = (len(hidden), -1, module.head_dim)
        queries = module.q_norm(module.q_proj(hidden).view(heads))
        keys = module.k_norm(module.k_proj(hidden).view(heads))
        values = module.v_proj(hidden).view(heads)
        queries, keys = self._rotate.apply_rotary_pos_emb(queries, keys, *turns)
        earlier = []
        for share, pairs, place in zip(layout.shares, kept, layout.prefixes, strict=True):
            if place is None:
                earlier.append(pairs[number])
            elif share.call.waiting:
                own = slice(place.start, place.stop)
                pairs.append((keys[own].clone(), values[own].clone()))
        if earlier:
            keys = torch.cat([keys, *(one for one, _ in earlier)])
            values = torch.cat([values, *(one for _, one in earlier)])
        attended = torch.zeros_like(queries)
        for group in layout.groups:
            # What a kept prefix would ask is not known, and nobody looks at its answer.
            asking = group.places.where(group.places < len(queries), 0)
            found = _attend(queries[asking], keys[group.places], values[group.places])
            attended[group.outputs] = found.flatten(0, 1)[group.sources]
        projected: torch.Tensor = module.o_proj(attended.flatten(1))
        return projected


def _attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Causal attention in each prompt; shapes (prompts, length, heads, head_dim)."""
    from torch.nn.functional import scaled_dot_product_attention

    queries, keys, values = (one.transpose(1, 2) for one in (queries, keys, values))
    if (times := queries.shape[1] // keys.shape[1]) > 1:
        keys, values = (one.repeat_interleave(times, dim=1) for one in (keys, values))
    return scaled_dot_product_attention(queries, keys, values, is_causal=True).transpose(1, 2)


def out_of_memory(device: torch.device, tokens: int) -> EngineError:
    """What to say where not even one document fits."""
    return EngineError(
        f"{device} has no memory for a pass of {tokens} tokens, a single document; pass a lower "
        "max_length, or use a device with more free memory"
    )
