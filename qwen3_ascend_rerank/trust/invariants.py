"""What holds for any model: a pair scores the same however it is asked, another pair otherwise."""

from __future__ import annotations

import itertools
import math

from ..models.lexical import NAME as LEXICAL
from ..prompts import DEFAULT_INSTRUCTION
from ..results.ranking import overflow
from .examiner import FILLER, Examiner
from .report import Check

LEAST_SPREAD = {"float32": 1e-3, "float16": 0.01, "bfloat16": 0.05}
"""How far apart different answers must lie at least, to be told from rounding in that precision; of
a precision that is not known as in float32. Those of a Qwen3-Reranker lie several apart."""
DOCUMENTS = [
    "The capital of China is Beijing.",
    "Bread is made of flour, water and salt.",
    "Boats pass under the bridge every morning, and the river is never quiet.",
]
QUERIES = ("What is the capital of China", "Where do boats pass every morning")
FINITE = "a number for each pair"


async def invariants(examiner: Examiner) -> list[Check]:
    """The same pair scores the same however it is asked; another pair scores otherwise."""
    first, other = map(examiner.fill_blocks, QUERIES)
    document = DOCUMENTS[0]
    (alone,) = await examiner.ask(first, [document])
    in_batch, *rest = await examiner.ask(first, DOCUMENTS)
    (again,) = await examiner.ask(first, [document])
    (another,) = await examiner.ask(other, [document])
    pair = f"{QUERIES[0]!r} … and {document!r}"
    different = [again, *rest, another]
    if not all(map(math.isfinite, [alone, in_batch, *different])):
        found = ", ".join(f"{value:.4g}" for value in [alone, in_batch, *different])
        fault = f"{overflow(examiner.info.engine, examiner.info.dtype)}."
        return [Check(FINITE, pair, "finite log-odds", found, False, fault)]
    spread = max(different) - min(different)
    least = LEAST_SPREAD.get(examiner.info.dtype, LEAST_SPREAD["float32"])
    others = f"{pair}, two other documents, and another query"
    return [
        Check(
            "alone and in a batch",
            pair,
            f"{alone:.4f} ± {examiner.tolerance:g}",
            f"{in_batch:.4f}",
            examiner.same(alone, in_batch),
            "A score that depends on its neighbours points to the attention kernel or to a prefix "
            "cache that returns other values than it was given; "
            f"{examiner.without('enable_prefix_caching')}.",
        ),
        Check(
            "again, with its prefix cached",
            pair,
            f"{alone:.4f} ± {examiner.tolerance:g}",
            f"{again:.4f}",
            examiner.same(alone, again),
            "A score that changes when it is asked again points to prefix caching, which "
            f"vllm-ascend 0.13 to 0.17 get wrong; {examiner.without('enable_prefix_caching')}.",
        ),
        Check(
            "another document or query",
            others,
            "four different log-odds",
            ", ".join(f"{value:.4f}" for value in different),
            len(set(different)) == len(different),
            "Equal answers to different questions point to a head that was not loaded (vLLM "
            "0.11.1rc gives 0.5 for everything) or to a cache that mixes up prompts.",
        ),
        Check(
            "answers far enough apart",
            others,
            f"log-odds more than {least:g} apart",
            f"{spread:.3g}",
            spread > least,
            "Answers that hardly differ point to a head that was not loaded, or that was quantised "
            "with the model until nothing was left of it; use a checkpoint that is not quantised, "
            "or one that was quantised without its head (score).",
        ),
    ]


async def chunks_agree(examiner: Examiner) -> list[Check]:
    """A long pair scores the same alone, where it fits one chunk, and in a crowd that is cut.

    Both times it must be computed anew: a prefix cache is got round by another instruction, which
    only the lexical model does not mind.
    """
    if examiner.info.cache_block and examiner.info.model != LEXICAL:
        return []
    chunk, longest = examiner.info.chunk, examiner.info.max_length
    words = min(chunk * 3 // 4, longest) - 150  # room for the prompt itself
    if words < 1:
        return []
    filler = "".join(itertools.islice(itertools.cycle(FILLER), words))
    crowd = [f"{document}{filler}" for document in DOCUMENTS * (1 + chunk // words)]
    query = QUERIES[0]
    (alone,) = await examiner.ask(query, crowd[:1])
    again = await examiner.ask(query, crowd, f"{DEFAULT_INSTRUCTION}, whatever its length")
    found = again[:: len(DOCUMENTS)]
    worst = max(found, key=lambda value: abs(value - alone))
    return [
        Check(
            "in chunks",
            f"{query!r} and {len(found)} times {DOCUMENTS[0]!r} followed by {words} words",
            f"{alone:.4f} ± {examiner.tolerance:g}",
            f"{worst:.4f}",
            examiner.same(alone, worst),
            "A long pair that scores otherwise when it is computed in chunks points to chunked "
            "prefill, wrong on GPUs in vLLM 0.14 to 0.25; "
            f"{examiner.without('enable_chunked_prefill')}, with max_num_batched_tokens of at "
            "least max_length + 1.",
        )
    ]
