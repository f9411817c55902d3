"""What is tried on a pair through the engine, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .pairs import Pair

RIGHT, WRONG, DIES, REFUSED = "right", "wrong", "dies", "refused"
"""What comes of a scenario: every log-odds as it should be; some not; the engine is dead; the plan
does not let it start."""

CHUNKS = {"enable_chunked_prefill": True, "max_num_batched_tokens": 512}
"""Prompts of up to 1,000 tokens, of which a step takes half at most."""
MODELS = ("lexical", "original", "converted")
"""The lexical model, and a small one of random weights in both forms."""
MODELSLIM = "ModelSlim W8A8"
"""The original one, quantised as ModelSlim does; expected is what its weights give in float."""
EVERY = "every row"
"""Instead of a row's words: the table of hazards is empty."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """An engine to be started and asked."""

    name: str
    model: str = MODELS[0]
    options: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    """Variables that a user has set."""
    without: str = ""
    """Words of the hazard rows that are left out, or `EVERY`; empty: the plan is whole."""
    expected: str = RIGHT


MAY_CHUNK = ("0.26.0rc1", "0.27.1rc1", "0.29.0rc1", "0.30.0rc2")
"""Releases whose plan allows prompts in chunks."""
NOT_QUANTISED = ("0.11.0", "0.13.0")
"""Releases on whose vLLM the plan refuses quantised checkpoints."""
CANNOT = ("0.18.0 310P",)
"""Pairs that cannot run such a model at all."""

AS_IT_STARTS, IN_CHUNKS = "without the plan", "without the plan, in chunks"
WITHOUT_THE_PLAN = {
    ("0.11.0", IN_CHUNKS): DIES,
    ("0.13.0", AS_IT_STARTS): WRONG,
    ("0.13.0", IN_CHUNKS): WRONG,
    ("0.23.0", IN_CHUNKS): DIES,
    ("0.23.0.post1", IN_CHUNKS): DIES,
    ("0.25.1rc1", IN_CHUNKS): DIES,
    ("0.18.0 310P", AS_IT_STARTS): DIES,
    ("0.18.0 310P", IN_CHUNKS): DIES,
    ("0.23.0 310P", IN_CHUNKS): DIES,
}
"""What comes without the plan, where it is not right."""


def scenarios(pair: Pair) -> list[Scenario]:
    """What is tried on a pair."""
    as_planned = REFUSED if pair.name in CANNOT else RIGHT
    found = [Scenario(model, model, expected=as_planned) for model in MODELS]
    quantised = REFUSED if pair.vllm_ascend in NOT_QUANTISED else as_planned
    dtype = "float16" if pair.card else "bfloat16"
    found.append(Scenario(MODELSLIM, MODELSLIM, {"dtype": dtype}, expected=quantised))
    if pair.vllm_ascend in MAY_CHUNK:
        found.append(Scenario("chunks", options=CHUNKS))
    for title, options in ((AS_IT_STARTS, {}), (IN_CHUNKS, CHUNKS)):
        expected = WITHOUT_THE_PLAN.get((pair.name, title), RIGHT)
        found.append(Scenario(title, options=options, without=EVERY, expected=expected))
    return found
