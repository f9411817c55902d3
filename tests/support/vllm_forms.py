"""Has vLLM score forms of the small model, one after the other in one process: its imports take
longer than all else. The arguments are those that VLLMEngine gives.

Prints a line of JSON for each: the form and its log-odds, or what refused it.
"""

import gc
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION, ModelError
from qwen3_ascend_rerank.engines.vllm import VLLMEngine, launch, library
from qwen3_ascend_rerank.models import expected_in_vllm, open_checkpoint, vllm_overrides
from qwen3_ascend_rerank.models.configuration import Configuration
from qwen3_ascend_rerank.prompts import build_batch, load_tokenizer
from qwen3_ascend_rerank.runtime import probes
from qwen3_ascend_rerank.runtime.detect import detect
from tests.support.variants import DOCUMENTS, LENGTH, QUERY, VARIANTS, Variant, write


def log_odds(folder: Path) -> list[float]:
    """What vLLM gives, by the same steps as VLLMEngine takes."""
    from vllm import LLM

    machine = detect()
    checkpoint = open_checkpoint(str(folder))
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    checkpoint.check(tokenizer)
    made = VLLMEngine(str(folder), max_length=LENGTH)._plan(machine, checkpoint)
    with launch.environment(made.environment):
        accepted = library.signatures(machine)
        arguments = probes.engine_arguments(
            accepted,
            converted=checkpoint.converted,
            overrides=vllm_overrides(checkpoint),
            options={"disable_log_stats": True, **made.settings},
        )
        llm: Any = LLM(model=str(folder), tokenizer=str(folder), **arguments)
    try:
        loaded = Configuration.read(llm.model_config.hf_config.to_dict(), "what vLLM loaded")
        expected = expected_in_vllm(checkpoint, None)
        assert expected is not None
        assert expected.differences(loaded) == []
        batch = build_batch(tokenizer, DEFAULT_INSTRUCTION, QUERY, DOCUMENTS, LENGTH)
        outputs = llm.encode(
            [{"prompt_token_ids": ids} for ids in batch.prompts()],
            pooling_params=library.pooling_parameters(accepted),
            pooling_task="classify",
            use_tqdm=False,
        )
        labels = checkpoint.labels
        found = [library.numbers(one, labels.count if labels else 1) for one in outputs]
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
    if labels is None or labels.negative is None:
        return [one for (one,) in found]
    return [one[labels.positive] - one[labels.negative] for one in found]


def main() -> None:
    logging.disable(logging.WARNING)
    wanted = [VARIANTS[int(place)] for place in sys.argv[1:]] or VARIANTS
    with tempfile.TemporaryDirectory() as place:
        for number, variant in enumerate(wanted):
            print(
                json.dumps([str(variant), answer(variant, Path(place) / str(number))]), flush=True
            )


def answer(variant: Variant, folder: Path) -> list[float] | str:
    write(variant, folder)
    try:
        return log_odds(folder)
    except ModelError as error:
        return str(error)


if __name__ == "__main__":
    main()
