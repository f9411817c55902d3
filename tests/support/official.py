"""The official Qwen3-Reranker computation, transcribed step by step, for comparison.

After the "Transformers Usage" section of https://github.com/QwenLM/Qwen3-Embedding, with the
arithmetic in float32: format the pair, tokenise and truncate the body, add head and tail, run the
whole causal model, take the logits of "no" and "yes" at the last position.
"""

from typing import Any

import torch

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def format_pair(instruction: str, query: str, document: str) -> str:
    return f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"


def prompt_ids(
    tokenizer: Any, pairs: list[str], max_length: int, body_tokenizer: Any = None
) -> list[list[int]]:
    """Ids of each formatted pair; `body_tokenizer` encodes the pair where it is given."""
    prefix = tokenizer.encode(PREFIX, add_special_tokens=False)
    suffix = tokenizer.encode(SUFFIX, add_special_tokens=False)
    bodies = (body_tokenizer or tokenizer)(
        pairs,
        padding=False,
        truncation="longest_first",
        return_attention_mask=False,
        max_length=max_length - len(prefix) - len(suffix),
    )
    return [prefix + list(ids) + suffix for ids in bodies["input_ids"]]


@torch.no_grad()
def log_odds(model: Any, prompts: list[list[int]], yes: int, no: int) -> list[float]:
    """log P(yes) - log P(no) of each prompt, from the logits of every position."""
    answers = []
    for ids in prompts:
        logits = model(input_ids=torch.tensor([ids])).logits[:, -1, :].float()
        both = torch.stack([logits[:, no], logits[:, yes]], dim=1)
        no_log, yes_log = torch.nn.functional.log_softmax(both, dim=1)[0].tolist()
        answers.append(yes_log - no_log)
    return answers
