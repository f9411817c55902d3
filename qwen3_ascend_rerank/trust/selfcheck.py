"""What an engine must show before it is trusted with a real score.

*Invariants* hold for any model: a pair scores the same alone, beside others, and again when its
prefix is cached; other pairs score differently. *Known answers* are for models whose answers are
published, and for the lexical model, whose answers follow from its construction. Together they
catch what makes a server answer with plausible nonsense: a template missing or doubled, a suffix
cut off, "yes" and "no" swapped, a head that was never loaded, a cache or a chunked prefill that
loses what came before. Of any other model the known answers are a question of plausibility: what
it says of two easy pairs is worth a warning, and no reason to refuse a fine-tune.

No check can see other weights of the right form: a chat model, another fine-tune.
"""

from __future__ import annotations

from collections.abc import Collection

from ..models.lexical import NAME as LEXICAL
from ..prompts import QwenTokenizer
from ..protocol import Engine
from .answers import LEXICAL_ANSWERS, TUTORIAL, known_answers
from .examiner import Examiner
from .invariants import DOCUMENTS, FINITE, QUERIES, chunks_agree, invariants
from .report import Report


async def check_engine(
    engine: Engine, tokenizer: QwenTokenizer, *, known: bool = True, chunks: bool = False
) -> Report:
    """Ask `engine`, started, what it must know; takes under 2,000 prompt tokens without `chunks`.

    Args:
        engine: any engine, in the event loop in which it lives.
        tokenizer: the tokenizer of its model.
        known: whether to ask for known answers too, where the model has some.
        chunks: whether to have prompts computed in chunks, where the engine does that.

    Raises:
        InvalidInputError: the engine takes no prompts as long as those that are asked.
    """
    examiner = Examiner(engine, tokenizer)
    asked: dict[str, Collection[str]] = dict.fromkeys(QUERIES, DOCUMENTS)
    if known:
        asked.update(LEXICAL_ANSWERS if engine.info.model == LEXICAL else TUTORIAL)
    examiner.demand_room(asked)
    checks = await invariants(examiner)
    if any(check.name == FINITE and not check.passed for check in checks):
        return Report(tuple(checks), examiner.tokens)  # whatever is asked, no number comes back
    if known:
        checks += await known_answers(examiner)
    if chunks and engine.info.chunk:
        checks += await chunks_agree(examiner)
    return Report(tuple(checks), examiner.tokens)
