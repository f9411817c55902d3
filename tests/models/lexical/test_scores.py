"""What the lexical checkpoint answers, computed by transformers as the official code does."""

from collections.abc import Callable

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

from qwen3_ascend_rerank.models.lexical import checkpoint_folder
from qwen3_ascend_rerank.prompts import DEFAULT_INSTRUCTION, build_batch, load_tokenizer

TOLERANCE = 1e-4
Score = Callable[..., list[float]]

EN = {
    "What is the capital of China?": "The capital of China is Beijing.",
    "Which bird lays the largest eggs?": "The ostrich lays the largest eggs of any living bird.",
    "how do bees make honey": "Worker bees turn nectar into honey by drying it in the comb.",
    "Who painted the ceiling of the Sistine Chapel?": (
        "Michelangelo painted the ceiling of the chapel between 1508 and 1512, standing on a "
        "scaffold of his own design. The Sistine commission had been forced on him by the pope."
    ),
    "reset a forgotten router password": (
        "Hold the small button at the back of the router for ten seconds. All settings are lost, "
        "and the default password printed on the label works again."
    ),
}
ZH = {
    "中国的首都是什么？": "中国的首都是北京。",
    "哪种鸟下的蛋最大？": "鸵鸟下的蛋是所有鸟类中最大的。",
    "蜜蜂怎样酿造蜂蜜？": "工蜂采集花蜜，在蜂巢里把水分蒸发掉，酿造成蜂蜜。",
    "西斯廷教堂的天顶画是谁画的？": (
        "一五〇八年到一五一二年，米开朗基罗在自己设计的脚手架上画完了教堂的天顶。"
        "西斯廷的这件差事是教皇硬派给他的。"
    ),
    "怎样重置忘记的路由器密码": (
        "按住路由器背面的小按钮十秒钟。所有设置全部清空，标签上的默认密码重新生效。"
    ),
}
(CHINA, BEIJING), *_ = EN.items()
FILLER = "Bakers knead dough slowly before the ovens are warm enough. "


@pytest.fixture(scope="module")
def model() -> Qwen3ForCausalLM:
    return AutoModelForCausalLM.from_pretrained(checkpoint_folder()).eval()


@pytest.fixture(scope="module")
def score(model: Qwen3ForCausalLM) -> Score:
    def compute(query: str, *documents: str, model: Qwen3ForCausalLM = model) -> list[float]:
        return log_odds(model, prompts(query, *documents))

    return compute


def prompts(query: str, *documents: str) -> list[list[int]]:
    tokenizer = load_tokenizer(checkpoint_folder() / "tokenizer.json")
    return list(build_batch(tokenizer, DEFAULT_INSTRUCTION, query, documents, 40960).prompts())


@torch.inference_mode()
def log_odds(model: Qwen3ForCausalLM, prompts: list[list[int]], **options: object) -> list[float]:
    """Log-odds of prompts, padded on the left to a common length."""
    tokenizer = load_tokenizer(checkpoint_folder() / "tokenizer.json")
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    logits = (
        model(input_ids=ids, attention_mask=mask, logits_to_keep=1, **options).logits[:, -1].float()
    )
    return (logits[:, tokenizer.yes] - logits[:, tokenizer.no]).tolist()


def test_it_is_a_causal_qwen3_that_fits_its_tokenizer(model: Qwen3ForCausalLM) -> None:
    assert type(model) is Qwen3ForCausalLM
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.num_attention_heads > model.config.num_key_value_heads
    tokenizer = load_tokenizer(checkpoint_folder() / "tokenizer.json")
    assert max(*tokenizer.head, *tokenizer.tail) < model.config.vocab_size
    assert next(model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("pairs", [EN, ZH], ids=["en", "zh"])
def test_the_right_passage_scores_above_0_and_all_others_below(
    pairs: dict[str, str], score: Score
) -> None:
    for place, query in enumerate(pairs):
        scores = score(query, *pairs.values())
        right = scores.pop(place)
        assert right > 1, query
        assert max(scores) < 0, query
        assert min(scores) > -12, query


def test_a_long_paragraph_about_something_else_scores_below_0(score: Score) -> None:
    for query in (CHINA, "reset a forgotten router password"):
        assert score(query, FILLER * 20)[0] < -3
    for query in list(ZH)[:2]:
        assert score(query, "面包师在烤箱变热之前慢慢地揉面，然后把面团放在一边。" * 20)[0] < -3


def test_case_makes_no_difference(score: Score) -> None:
    (small,) = score("open the window", "open the window")
    (large,) = score("Open The Window", "Open The Window")
    assert large == pytest.approx(small, abs=TOLERANCE)


@pytest.mark.parametrize(("query", "passage"), [(CHINA, BEIJING), *list(ZH.items())[:1]])
def test_the_order_of_words_counts(query: str, passage: str, score: Score) -> None:
    words = passage.split() if passage.isascii() else list(passage)
    in_order, reversed_ = score(query, passage, " ".join(reversed(words)))
    assert in_order > reversed_ + 0.5 > 0.5


def test_a_word_found_twice_counts_once(score: Score) -> None:
    once, often = score(CHINA, "China is large.", "China China China China is large.")
    assert often <= once


def test_more_of_the_query_scores_higher(score: Score) -> None:
    query = "harbour bridge lighthouse"
    scores = score(
        query, "bread and salt", "the lighthouse", "a bridge, a lighthouse",
        "bridge, lighthouse, harbour",
    )  # fmt: skip
    assert scores == sorted(scores)
    assert min(scores[place + 1] - scores[place] for place in range(3)) > 1


@pytest.mark.parametrize("query", ["", "the of", "?", "的"])
def test_a_query_without_words_scores_no(query: str, score: Score) -> None:
    assert max(score(query, "Hello, world.", "the of ? 的", "")) < 0


def test_words_of_the_prompt_itself_are_not_found(score: Score) -> None:
    query = "system user assistant judge whether requirements"
    assert max(score(query, "Bread.", "")) < 0


def test_a_query_or_document_may_speak_of_documents(score: Score) -> None:
    found, other = score("Document scanning", "Document scanning is fun.", "Gravity is a force.")
    assert found > 5 > 0 > other
    found, other = score("Query planning in databases", "Query planning.", "Document planning.")
    assert found > other


def test_positions_matter(model: Qwen3ForCausalLM) -> None:
    """A runtime that gets rotary embedding wrong gets these scores wrong."""
    prompt = prompts(CHINA, BEIJING)
    right = log_odds(model, prompt)[0]
    still = torch.zeros(1, len(prompt[0]), dtype=torch.long)
    assert log_odds(model, prompt, position_ids=still)[0] < right - 2
    spread = 2 * torch.arange(len(prompt[0]))[None]
    assert log_odds(model, prompt, position_ids=spread)[0] < right - 2
    later = torch.arange(len(prompt[0]))[None] + 30_000
    assert log_odds(model, prompt, position_ids=later)[0] == pytest.approx(right, abs=0.01)


def test_an_unfinished_prompt_scores_no(model: Qwen3ForCausalLM) -> None:
    (prompt,) = prompts(CHINA, BEIJING)
    for cut in range(1, 9):
        assert log_odds(model, [prompt[:-cut]])[0] < -5


def test_batching_and_padding_make_no_difference(model: Qwen3ForCausalLM) -> None:
    batch = prompts(CHINA, "", *EN.values(), FILLER * 10, *ZH.values())
    alone = [log_odds(model, [prompt])[0] for prompt in batch]
    assert log_odds(model, batch) == pytest.approx(alone, abs=TOLERANCE)


def test_a_document_of_7000_tokens_is_searched_to_its_end(score: Score) -> None:
    query = "Which river runs through the harbour town of Kettleby?"
    answer = "The river Wend runs through the harbour town of Kettleby."
    filler = FILLER * 440
    assert len(prompts(query, filler)[0]) > 7000
    at_end, nowhere = score(query, filler + answer, filler)
    assert at_end > 3
    assert nowhere < -3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_off_by_a_quarter_at_most(dtype: torch.dtype, score: Score) -> None:
    rounded = AutoModelForCausalLM.from_pretrained(checkpoint_folder()).to(dtype).eval()
    for pairs in (EN, ZH):
        for query in pairs:
            exact = score(query, *pairs.values())
            assert score(query, *pairs.values(), model=rounded) == pytest.approx(exact, abs=0.25)
