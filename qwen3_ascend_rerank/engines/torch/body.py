"""Qwen3's forward pass over a `Layout`, with the weights that transformers loaded.

Only the order of the steps is written here, so that a prefix is shared and nothing is padded; the
linear layers, the activation and the rotary embedding's angles are transformers' own. Source of the
steps: ``transformers/models/qwen3/modeling_qwen3.py``, alike from 4.51 to 5.x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import UnsupportedModelError
from .attention import Shapes
from .layout import Layout, lay_out
from .passes import Share
from .prefixes import PrefixMemory

if TYPE_CHECKING:
    import torch


PREFIX_BYTES = 2**28
"""Of keys and values that are remembered: 1,170 tokens of the 0.6B model in float32."""


class Body:
    """The loaded model."""

    def __init__(
        self, model: Any, head: torch.Tensor, name: str, shapes: Shapes, *, compiled: bool = False
    ) -> None:
        """Take over transformers' bare model and the weights that read the score.

        Args:
            model: a ``Qwen3Model`` on its device.
            head: h · head is the log-odds, shape (hidden_size,), float32.
            name: what errors call it.
            shapes: what the device asks of shapes.
            compiled: whether ``torch.compile`` makes kernels of what surrounds attention.

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
        self._shapes = shapes
        config = model.config
        pairs = config.num_hidden_layers * 2 * config.num_key_value_heads * config.head_dim
        self.memory = PrefixMemory(shapes.step, PREFIX_BYTES // (pairs * model.dtype.itemsize))
        self._before, self._after = _before_attention, _after_attention
        if compiled:
            import torch

            self._before = torch.compile(_before_attention, dynamic=True)
            self._after = torch.compile(_after_attention, dynamic=True)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._head.device

    def run(self, shares: Sequence[Share]) -> list[list[float]]:
        """Log-odds of the documents of each share, in one pass; their prefixes are remembered."""
        import torch

        with torch.inference_mode():
            layout = lay_out(shares, self.device, self._model.dtype, self._shapes)
            prefixes = [self._room(share) for share in shares]
            hidden = self._forward(layout, prefixes)
            values: list[float] = (hidden.float() @ self._head).tolist()
        for share, pairs in zip(shares, prefixes, strict=True):
            if pairs is not None:
                self.memory.remember(share.call.prefix, pairs)
        found = iter(values)
        return [[next(found) for _ in share.rows] for share in shares]

    def _room(self, share: Share) -> torch.Tensor | None:
        """For the keys and values of a prefix of which a part is not known yet."""
        length, config = len(share.call.prefix), self._model.config
        if share.known.length == length:
            return None
        shape = (config.num_hidden_layers, 2, length, config.num_key_value_heads, config.head_dim)
        return self._head.new_empty(shape, dtype=self._model.dtype)

    def _forward(self, layout: Layout, prefixes: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """Hidden states of the last tokens, (documents, hidden_size); fills `prefixes`."""
        model = self._model
        hidden = model.embed_tokens(layout.tokens)
        turns = _turns(model.rotary_emb, hidden, layout.positions)
        for number, layer in enumerate(model.layers):
            final = number == len(model.layers) - 1  # where nothing but the last tokens counts
            ends = layout.ends if final else None
            queries, keys, values = self._before(
                layer, hidden, *turns, None if ends is None else layout.last
            )
            keys, values = _with_known(keys, values, number, layout)
            _keep(
                keys,
                values,
                [None if pairs is None else pairs[number] for pairs in prefixes],
                layout,
            )
            attended = (ends or layout.attention)(queries, keys, values)
            if final:
                hidden = hidden[layout.last]
                attended = attended if ends else attended[layout.last]
            hidden = self._after(layer, hidden, attended)
        return _norm(model.norm, hidden)


def _before_attention(
    layer: Any,
    hidden: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    asking: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, of `asking` alone if it is given, keys and values; (tokens, heads, head_dim)."""
    module = layer.self_attn
    hidden = _norm(layer.input_layernorm, hidden)
    heads = (-1, module.head_dim)
    keys = _norm(module.k_norm, module.k_proj(hidden).unflatten(-1, heads))
    keys, values = _turn(keys, cos, sin), module.v_proj(hidden).unflatten(-1, heads)
    if asking is not None:
        hidden, cos, sin = hidden[asking], cos[asking], sin[asking]
    queries = _norm(module.q_norm, module.q_proj(hidden).unflatten(-1, heads))
    return _turn(queries, cos, sin), keys, values


def _after_attention(layer: Any, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    hidden = hidden + layer.self_attn.o_proj(attended.flatten(1))
    normed, mlp = _norm(layer.post_attention_layernorm, hidden), layer.mlp
    gated = mlp.act_fn(mlp.gate_proj(normed)).mul_(mlp.up_proj(normed))
    return hidden.add_(mlp.down_proj(gated))


def _norm(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Qwen3RMSNorm in one step; on a CPU, where torch has no kernel of its own, in three reads."""
    import torch
    from torch.nn.functional import rms_norm

    if hidden.device.type == "cpu" and hidden.dtype == torch.float32:
        length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        scale = length.square_().div_(hidden.shape[-1]).add_(module.variance_epsilon).rsqrt_()
        normed: torch.Tensor = (hidden * scale).mul_(module.weight)
        return normed
    return rms_norm(hidden, hidden.shape[-1:], module.weight, module.variance_epsilon)


def _turns(
    module: Any, hidden: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines for `_turn`, each (tokens, 1, head_dim)."""
    cos, sin = (turn[0, :, None] for turn in module(hidden[None], positions[None]))
    return cos, sin


def _turn(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The rotary embedding, x · cos + (-x₂, x₁) · sin, with the fewest reads and writes."""
    turned = heads * cos
    (first, second), (sin_first, sin_second) = heads.chunk(2, dim=-1), sin.chunk(2, dim=-1)
    turned_first, turned_second = turned.chunk(2, dim=-1)
    turned_first.addcmul_(second, sin_first, value=-1)
    turned_second.addcmul_(first, sin_second)
    return turned


def _with_known(
    keys: torch.Tensor, values: torch.Tensor, number: int, layout: Layout
) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys and values of the pass, and after them those that are known, of one layer."""
    import torch

    known = [
        share.known.pairs[number, :, : share.known.length]
        for share in layout.shares
        if share.known.length
    ]
    if not known:
        return keys, values
    if layout.unused:
        known.append(keys.new_zeros(2, layout.unused, *keys.shape[1:]))
    return torch.cat([keys, *(one[0] for one in known)]), torch.cat(
        [values, *(one[1] for one in known)]
    )


def _keep(
    keys: torch.Tensor,
    values: torch.Tensor,
    prefixes: Sequence[torch.Tensor | None],
    layout: Layout,
) -> None:
    """Fill `prefixes`, (2, tokens, heads, head_dim) of one layer for each share."""
    known = len(layout.tokens)
    for share, part, pairs in zip(layout.shares, layout.prefixes, prefixes, strict=True):
        length = share.known.length
        if pairs is not None:
            for room, all_tokens in zip(pairs, (keys, values), strict=True):
                room[:length] = all_tokens[known : known + length]
                room[length:] = all_tokens[part.start : part.stop]
        known += length
