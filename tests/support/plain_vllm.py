"""Has vLLM score converted checkpoints as people do who know nothing of this package.

No overrides: a folder, the pooling runner, and the folder's own template. Prints a line of JSON for
each folder that it is given: its log-odds from token ids, and its scores of plain texts.
"""

import gc
import json
import sys
from pathlib import Path
from typing import Any

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION
from qwen3_ascend_rerank.prompts import build_batch, load_tokenizer
from tests.support.variants import DOCUMENTS, LENGTH, QUERY


def scores(folder: Path) -> tuple[list[float], list[float]]:
    from vllm import LLM, PoolingParams

    llm: Any = LLM(
        str(folder),
        runner="pooling",
        dtype="float32",
        max_model_len=LENGTH + 1,
        max_num_seqs=8,
        enforce_eager=True,
        gpu_memory_utilization=0.2,  # else of all memory
    )
    try:
        batch = build_batch(
            load_tokenizer(folder / "tokenizer.json"),
            DEFAULT_INSTRUCTION,
            QUERY,
            DOCUMENTS,
            LENGTH,
        )
        by_ids = llm.classify(
            [{"prompt_token_ids": ids} for ids in batch.prompts()],
            pooling_params=PoolingParams(task="classify", use_activation=False),
            use_tqdm=False,
        )
        by_text = llm.score(
            QUERY,
            DOCUMENTS,
            chat_template=(folder / "chat_template.jinja").read_text(),
            use_tqdm=False,
        )
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
    return [one.outputs.probs[0] for one in by_ids], [one.outputs.score for one in by_text]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(json.dumps(scores(Path(name))), flush=True)
