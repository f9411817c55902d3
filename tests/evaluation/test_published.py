"""The prompt of the published figures, id by id, and through a real engine."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION, Reranker
from qwen3_ascend_rerank.evaluation.published import MORE, PublishedPrompt
from qwen3_ascend_rerank.prompts import PromptBatch, build_batch, load_tokenizer
from qwen3_ascend_rerank.protocol import EngineInfo

SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)


def official(instruction: str, query: str, document: str) -> str:
    """Qwen's chat template without a generation prompt, and the evaluation code's suffix."""
    user = f"<Instruct>: {instruction}\n\n<Query>: {query}\n\n<Document>: {document}"
    turns = "".join(
        f"<|im_start|>{role}\n{text}<|im_end|>\n"
        for role, text in (("system", SYSTEM), ("user", user))
    )
    return turns + "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


class Kept:
    """An engine that keeps what it is asked."""

    def __init__(self, file: Path) -> None:
        self.info = EngineInfo(
            "kept", "kept", "1", "cpu", "float32", max_length=8192, tokenizer=file
        )
        self.prompts: list[list[int]] = []

    async def start(self) -> None: ...

    async def score(self, batch: PromptBatch) -> list[float]:
        self.prompts += batch.prompts()
        return [0.0] * len(batch)

    async def aclose(self) -> None: ...


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("What is the capital of China?", "Beijing is the capital."),
        ("  lines\n\n", "\n\nof many\nlines\n"),
        ("中国的首都在哪里？", "北京是中国的首都。"),
    ],
)
def test_ids_are_those_of_the_authors_code(qwen_file: Path, query: str, document: str) -> None:
    kept = Kept(qwen_file)
    with Reranker(kept) as inner, Reranker(PublishedPrompt(inner)) as reranker:
        reranker.rerank(query, [document])
    expected = Tokenizer.from_file(str(qwen_file)).encode(
        official(DEFAULT_INSTRUCTION, query, document), add_special_tokens=False
    )
    assert kept.prompts[-1] == expected.ids


def test_it_is_longer_than_the_model_cards_by_what_is_set_aside(qwen_file: Path) -> None:
    kept = Kept(qwen_file)
    with Reranker(kept, max_length=200) as inner:
        with Reranker(PublishedPrompt(inner), max_length=200) as reranker:
            result = reranker.rerank("what", ["word " * 500])
            assert reranker.info.max_length == 8192 - MORE
    assert result[0].truncated
    card = build_batch(
        load_tokenizer(qwen_file), DEFAULT_INSTRUCTION, "what", ["word " * 500], 200
    ).lengths()
    assert 200 == card[0] < len(kept.prompts[-1]) <= 200 + MORE


def test_a_real_engine_scores_it(lexical: Reranker) -> None:
    documents = ["Bread needs flour.", "Beijing is the capital of China."]
    with Reranker(PublishedPrompt(lexical)) as reranker:
        result = reranker.rerank("capital of China", documents)
    assert [one.index for one in result] == [1, 0]
    assert lexical.rerank("capital of China", documents)[0].index == 1
