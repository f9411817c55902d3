"""Which documents go through the model together, and how they lie there."""

import asyncio

import torch
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_rerank.engines.torch.layout import lay_out
from qwen3_ascend_rerank.engines.torch.passes import Call, take_pass
from qwen3_ascend_rerank.prompt import PromptBatch

SUFFIX = [7, 8, 9]
LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=12)
CPU = torch.device("cpu")


def batch(prefix: int, lengths: list[int]) -> PromptBatch:
    """Documents whose every token is another number."""
    ids = iter(range(100, 10**6))
    documents = [[next(ids) for _ in range(length)] for length in lengths]
    shared = [next(ids) for _ in range(prefix)]
    texts = [""] * len(lengths)
    return PromptBatch(shared, documents, SUFFIX, "", "", texts, [False] * len(lengths))


def in_a_loop(work):
    """Calls are made in an event loop."""

    async def run():
        return work()

    return asyncio.run(run())


@given(st.lists(LENGTHS, min_size=1, max_size=4), st.integers(1, 400))
def test_every_document_is_taken_once_and_passes_keep_to_the_budget(
    lengths: list[list[int]], budget: int
) -> None:
    def work():
        calls = [Call(batch(20, each)) for each in lengths]
        taken = [[] for _ in calls]
        while shares := take_pass(calls, budget):
            documents = sum(len(share.rows) for share in shares)
            assert documents == 1 or sum(share.tokens for share in shares) <= budget
            for share in shares:
                taken[calls.index(share.call)] += share.rows
        assert [sorted(rows) for rows in taken] == [list(range(len(each))) for each in lengths]

    in_a_loop(work)


def test_a_large_call_leaves_room_for_a_small_one() -> None:
    def work():
        large, small = Call(batch(10, [50] * 1000)), Call(batch(10, [50]))
        shares = take_pass([large, small], 1000)
        assert [share.call for share in shares] == [large, small]

    in_a_loop(work)


def test_a_call_is_done_with_its_last_document_whatever_the_order() -> None:
    def work():
        call = Call(batch(5, [3, 9, 4]))
        rows = call.take(1000, None)
        assert rows == [1, 2, 0]
        call.give_back(rows[1:])
        call.answer(rows[:1], [1.0])
        assert not call.done.done()
        assert call.take(1000, None) == rows[1:]
        call.answer(rows[1:], [2.0, 0.0])
        assert call.done.result() == [0.0, 1.0, 2.0]

    in_a_loop(work)


@given(st.lists(LENGTHS, min_size=1, max_size=3), st.sampled_from([1, 16]), st.booleans())
def test_each_prompt_attends_to_its_own_tokens_in_order(
    lengths: list[list[int]], step: int, kept: bool
) -> None:
    def work():
        calls = [Call(batch(number + 4, each)) for number, each in enumerate(lengths)]
        if kept:
            calls[0].kept = [(None, None)]
        shares = take_pass(calls, 10**6)
        layout = lay_out(shares, CPU, step)
        known = layout.tokens.tolist()
        known += calls[0].prefix if kept else []
        wanted = [
            share.call.prefix + share.call.rows[row] for share in shares for row in share.rows
        ]
        found = [[known[place] for place in row] for group in layout.groups for row in group.places]
        for prompt in wanted:
            assert any(row[: len(prompt)] == prompt for row in found)
        assert [known[place] for place in layout.last] == [prompt[-1] for prompt in wanted]
        # Every token of the pass gets its output once, from where it stands in its prompt.
        outputs = [place for group in layout.groups for place in group.outputs.tolist()]
        assert sorted(outputs) == list(range(sum(share.tokens for share in shares)))
        for group in layout.groups:
            flat = group.places.flatten()
            assert torch.equal(flat[group.sources], group.outputs)
            assert group.places.shape[1] % step == 0

    in_a_loop(work)
