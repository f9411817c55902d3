"""Which documents go through the model together, and how they lie there."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_ascend_rerank.engines.torch.attention import Groups, Shapes
from qwen3_ascend_rerank.engines.torch.layout import lay_out
from qwen3_ascend_rerank.engines.torch.memory import MOST_PATIENCE, PATIENCE, Budget
from qwen3_ascend_rerank.engines.torch.passes import REFUSALS, WORTH, Call, CallQueue, Share
from qwen3_ascend_rerank.engines.torch.prefixes import MOST, Known, PrefixMemory
from qwen3_ascend_rerank.engines.torch.ragged import Ragged
from qwen3_ascend_rerank.prompts import PromptBatch

SUFFIX = [7, 8, 9]
LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=12)
CPU = torch.device("cpu")
SHAPES = [
    Shapes(),
    Shapes(step=16),
    Shapes(attention="masked"),
    Shapes(step=16, attention="masked"),
    Shapes(rows=32, attention="masked"),
    Shapes(attention="ragged"),
]


def batch(prefix: int, lengths: list[int]) -> PromptBatch:
    """Documents whose every token is another number."""
    ids = iter(range(100, 10**6))
    documents = [[next(ids) for _ in range(length)] for length in lengths]
    shared = [next(ids) for _ in range(prefix)]
    texts = [""] * len(lengths)
    return PromptBatch(shared, documents, SUFFIX, "", "", texts, [False] * len(lengths))


def line_of(calls: list[Call]) -> CallQueue:
    line = CallQueue()
    for call in calls:
        line.join(call)
    return line


def in_a_loop(work):
    """Calls are made in an event loop."""

    async def run():
        return work()

    return asyncio.run(run())


class TestPasses:
    @settings(deadline=None)
    @given(st.lists(LENGTHS, min_size=1, max_size=4), st.integers(1, 400))
    def test_every_document_is_taken_once_and_passes_keep_to_the_budget(
        self, lengths: list[list[int]], budget: int
    ) -> None:
        def work():
            calls = [Call(batch(20, each)) for each in lengths]
            taken = [[] for _ in calls]
            line = line_of(calls)
            while shares := line.take_pass(budget, PrefixMemory()):
                documents = sum(len(share.rows) for share in shares)
                assert documents == 1 or sum(share.tokens for share in shares) <= budget
                for share in shares:
                    taken[calls.index(share.call)] += share.rows
                    line.join(share.call)
            assert [sorted(rows) for rows in taken] == [list(range(len(each))) for each in lengths]

        in_a_loop(work)

    def test_a_large_call_leaves_room_for_a_small_one(self) -> None:
        def work():
            large, small = Call(batch(10, [50] * 1000)), Call(batch(10, [50]))
            shares = line_of([large, small]).take_pass(1000, PrefixMemory())
            assert [share.call for share in shares] == [large, small]

        in_a_loop(work)

    def test_a_prefix_is_computed_for_documents_enough_to_be_worth_it(self) -> None:
        def work():
            calls = [Call(batch(20, [17] * 100)) for _ in range(50)]
            for share in line_of(calls).take_pass(1000, PrefixMemory())[:-1]:
                assert sum(len(share.call.rows[row]) for row in share.rows) == WORTH * 20

        in_a_loop(work)

    def test_a_known_prefix_leaves_its_room_to_documents(self) -> None:
        def work():
            memory, call = PrefixMemory(), Call(batch(60, [1] * 100))
            memory.remember(call.prefix, "pairs")
            (share,) = line_of([call]).take_pass(100, memory)
            assert share.known == Known(60, "pairs")
            assert share.tokens == len(share.rows) * 4 == 100

        in_a_loop(work)

    def test_a_call_is_done_with_its_last_document_whatever_the_order(self) -> None:
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

    @pytest.mark.parametrize("budget", [300, 5000])
    def test_take_as_much_looking_for_thousands_of_calls_as_for_each_alone(
        self, budget: int
    ) -> None:
        class Counting(PrefixMemory):
            looks = 0

            def find(self, prefix: Sequence[int]) -> Known:
                self.looks += 1
                return super().find(prefix)

        def work():
            count = 2000
            calls = [Call(batch(20, [17 + number % 60])) for number in range(count)]
            line, memory, passes = line_of(calls), Counting(), 0
            while shares := line.take_pass(budget, memory):
                passes += 1
                for share in shares:
                    share.call.answer(share.rows, [0.0] * len(share.rows))
                    line.join(share.call)
            assert all(call.done.done() for call in calls)
            assert memory.looks <= count + passes * REFUSALS
            assert passes <= 1.2 * sum(40 + number % 60 for number in range(count)) / budget + 1

        in_a_loop(work)

    def test_whoever_was_served_waits_behind_the_others(self) -> None:
        def work():
            calls = [Call(batch(10, [40] * 4)) for _ in range(3)]
            line, served = line_of(calls), []
            while shares := line.take_pass(60, PrefixMemory()):
                served += [calls.index(share.call) for share in shares]
                for share in shares:
                    line.join(share.call)
            assert served == [0, 1, 2] * 4

        in_a_loop(work)

    def test_hold_one_call_alone_after_a_failure(self) -> None:
        def work():
            calls = [Call(batch(10, [10])) for _ in range(4)]
            calls[1].apart = calls[3].apart = True
            line = line_of(calls)
            served = []
            while shares := line.take_pass(1000, PrefixMemory()):
                served.append([calls.index(share.call) for share in shares])
            assert served == [[0, 2], [1], [3]]

        in_a_loop(work)

    def test_leave_out_who_gave_up(self) -> None:
        def work():
            calls = [Call(batch(10, [10])) for _ in range(3)]
            line = line_of(calls)
            line.leave(calls[0])
            calls[2].done.cancel()
            line.leave(calls[2])
            line.join(calls[2])
            assert [share.call for share in line.take_pass(1000, PrefixMemory())] == [calls[1]]

        in_a_loop(work)


class TestBudget:
    def test_comes_back_when_memory_does(self) -> None:
        budget = Budget(1024)
        for _ in range(3):
            budget.ran_out(budget.tokens)
        assert budget.tokens == 128
        for _ in range(3 * PATIENCE):
            budget.succeeded()
        assert budget.tokens == 1024
        budget.succeeded()
        assert budget.tokens == 1024

    def test_is_tried_ever_more_seldom_where_memory_stays_short(self) -> None:
        budget, failures = Budget(1000), 0
        for _ in range(10_000):
            if budget.tokens > 600:
                budget.ran_out(budget.tokens)
                failures += 1
            else:
                budget.succeeded()
        assert failures < 20
        for _ in range(2 * MOST_PATIENCE):
            budget.succeeded()
        assert budget.tokens == 1000

    def test_has_more_for_many_calls_than_for_few_where_it_says_so(self) -> None:
        budget = Budget(4096, few=1024)
        found = {calls: budget.among(calls) for calls in (1, 4, 8, 16, 900)}
        assert found == {1: 1024, 4: 1024, 8: 2048, 16: 4096, 900: 4096}
        budget.ran_out(1200)
        assert [budget.among(calls) for calls in (1, 900)] == [600, 600]
        assert Budget(300).among(1) == Budget(300).among(900) == 300

    def test_goes_by_the_pass_that_failed(self) -> None:
        budget = Budget(1024)
        budget.ran_out(100)
        assert budget.tokens == 50
        budget.ran_out(1)
        assert budget.tokens == 1


class TestPrefixMemory:
    def test_finds_the_longest_beginning(self) -> None:
        memory = PrefixMemory()
        memory.remember([1, 2, 3], "short")
        memory.remember([1, 2, 3, 4, 5], "long")
        assert memory.find([1, 2, 3, 4, 9, 5]) == Known(4, "long")
        assert memory.find([1, 2, 3, 4, 5, 6]) == Known(5, "long")
        assert memory.find([2, 1]) == Known()

    def test_counts_in_steps_where_shapes_must_repeat(self) -> None:
        memory = PrefixMemory(step=4)
        memory.remember(range(10), "pairs")
        assert [memory.find(range(length)).length for length in (3, 4, 9, 20)] == [0, 4, 8, 8]

    def test_forgets_what_was_not_asked_for_longest(self) -> None:
        memory = PrefixMemory(capacity=10)
        for first in (10, 20):
            memory.remember(range(first, first + 5), first)
        assert memory.find(range(10, 15)).length == 5
        memory.remember(range(30, 35), 30)
        assert memory.find(range(20, 25)) == Known()
        assert memory.find(range(10, 15)).pairs == 10

    def test_keeps_no_more_of_them_than_it_can_look_at(self) -> None:
        memory = PrefixMemory()
        for first in range(MOST + 1):
            memory.remember([first, 1000], first)
        assert memory.find([0, 1000]) == Known()
        assert memory.find([MOST, 1000]) == Known(2, MOST)
        assert memory.find([1, 2000]) == Known(1, 1)

    def test_keeps_one_prefix_however_long(self) -> None:
        memory = PrefixMemory(capacity=10)
        memory.remember(range(5), "short")
        memory.remember(range(100, 200), "long")
        assert memory.find(range(100, 200)) == Known(100, "long")
        assert memory.find(range(5)) == Known()


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@settings(deadline=None)
@given(lengths=st.lists(LENGTHS, min_size=1, max_size=3), known=st.integers(0, 6))
def test_each_token_attends_to_its_own_prompt_up_to_itself(
    shapes: Shapes, lengths: list[list[int]], known: int
) -> None:
    def work():
        calls = [Call(batch(number + 4, each)) for number, each in enumerate(lengths)]
        starts = [min(known, len(call.prefix)) for call in calls]
        shares = [
            Share(call, call.take(10**6, None), Known(start, "pairs"))
            for call, start in zip(calls, starts, strict=True)
        ]
        layout = lay_out(shares, CPU, torch.float32, shapes)
        tokens = layout.tokens.tolist()
        beyond = [
            one for call, start in zip(calls, starts, strict=True) for one in call.prefix[:start]
        ]
        everything = tokens + beyond
        prompts = [
            share.call.prefix + share.call.rows[row] for share in shares for row in share.rows
        ]
        assert [tokens[place] for place in layout.last[: len(prompts)]] == [
            prompt[-1] for prompt in prompts
        ]
        computed = sum(share.tokens for share in shares)
        answered = []
        for output, asking, places in looks(layout.attention):
            if output >= computed:
                continue  # nobody looks at it
            assert asking == output
            answered.append(output)
            seen = [everything[place] for place in places]
            assert places[-1] == output
            assert any(seen == prompt[: len(seen)] for prompt in prompts)
            assert layout.positions[output] == len(seen) - 1
        # Every token of the pass gets its output once.
        assert sorted(answered) == list(range(computed))
        # In the last layer the last token of each prompt asks, and sees all of it.
        if layout.ends is not None:
            seen_whole = {
                output: [everything[place] for place in places]
                for output, _, places in looks(layout.ends)
                if output < len(prompts)
            }
            assert [seen_whole[number] for number in range(len(prompts))] == prompts
        assert (layout.ends is not None) == (shapes.attention == "masked")

    in_a_loop(work)


def looks(attention: Groups | Ragged) -> Iterator[tuple[int, int, list[int]]]:
    """For each query: the token that its output is for, the one that asks, and where it looks."""
    if isinstance(attention, Ragged):
        places = attention.places.tolist()
        starts, key_starts = attention.starts.tolist(), attention.key_starts.tolist()
        for own, keys in zip(pairwise(starts), pairwise(key_starts), strict=True):
            assert own[1] - own[0] <= attention.longest
            assert keys[1] - keys[0] <= attention.longest_keys
            for after, query in enumerate(reversed(range(*own))):
                yield query, query, places[keys[0] : keys[1] - after]  # the last one sees all
        return
    queries = []
    for group in attention.groups:
        length = group.places.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        asking, places = group.asking.tolist(), group.places.tolist()
        for number, row in enumerate(asking):
            seen = causal if group.mask is None else group.mask[number, 0] == 0
            for query, asks in enumerate(row):
                keys = seen[query].nonzero()[:, 0].tolist()
                queries.append((asks, [places[number][key] for key in keys]))
    for output, query in enumerate(attention.answers.tolist()):
        yield output, *queries[query]


def test_a_whole_pass_has_few_shapes_where_it_must() -> None:
    def work():
        shapes = set()
        for count in range(1, 40):
            call = Call(batch(50, [10 + number % 7 for number in range(count)]))
            share = Share(call, call.take(10**6, None), Known())
            layout = lay_out([share], CPU, torch.float32, Shapes(rows=32, attention="masked"))
            shapes.add((len(layout.tokens) % 32, len(layout.last)))
        assert shapes == {(0, 16), (0, 32), (0, 48)}

    in_a_loop(work)


@pytest.mark.parametrize("attention", ["causal", "masked"])
def test_shapes_repeat_where_they_must(attention: Any) -> None:
    def work():
        tokens, groups = set(), set()
        for count in range(40, 70):
            call = Call(batch(50, [10 + number % 7 for number in range(count)]))
            share = Share(call, call.take(10**6, None), Known())
            layout = lay_out([share], CPU, torch.float32, Shapes(step=64, attention=attention))
            tokens.add((layout.tokens.shape, layout.last.shape))
            groups.update(
                (group.places.shape, group.asking.shape) for group in layout.attention.groups
            )
        assert len(tokens) <= 6, tokens
        assert len(groups) <= 12, groups

    in_a_loop(work)
