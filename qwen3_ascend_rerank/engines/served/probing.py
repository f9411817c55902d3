"""Finding out how a server must be asked, by asking it for scores whose meaning is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...errors import (
    AuthenticationError,
    EngineError,
    ModelNotFoundError,
    UnsupportedServerError,
)
from ...prompts import DEFAULT_INSTRUCTION, PromptBatch, QwenTokenizer, build_batch
from ...results import probability
from .connection import Connection
from .dialects import Dialect, Formatting
from .faults import (
    BROKEN,
    START,
    RedirectError,
    RefusedError,
    ServerFaultError,
    brief,
    listed,
    together,
)
from .manner import Manner, named_model, tokens_of

QUERY = "What is the capital of China?"
DOCUMENTS = (
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other.",
)
INSTRUCTION = (
    "Given a question about physics, retrieve only passages that answer it with a formula; a "
    "passage about anything else does not meet the requirements, whatever it says"
)
"""Another than the default, and longer: number of tokens or scores tell whether it is heeded."""
LENGTH = 8192
SERVE = (
    "Serve the model without --chat-template, or with the exact one that `qwen3-rerank serve` has"
)
AS_ONE = 0.02
"""How near the scores of one prompt must lie, wherever its two texts part."""
NO_EMBEDDINGS = f"Cosines of embeddings are no scores of Qwen3-Reranker; serve a reranker: {START}"
MOST_ENDS = 2
"""Special tokens that an embedding model has around a text, at most."""
TELLING = (
    UnsupportedServerError,
    AuthenticationError,
    ModelNotFoundError,
    RedirectError,
    ServerFaultError,
)
"""What tells most, if no dialect is answered with scores: the first that is among the errors."""
CLOSE = 0.05
"""How near two answers to one question must lie to be the same."""


@dataclass(frozen=True, slots=True)
class Prober:
    """Asks one server for the scores of `DOCUMENTS`, in one manner after the other."""

    connection: Connection
    tokenizer: QwenTokenizer
    model: str | None
    formatting: Formatting | Literal["auto"]

    async def find(self, dialects: Sequence[Dialect]) -> Manner:
        """The first manner that gives scores.

        Raises:
            UnsupportedServerError: no way leads to right scores.
            AuthenticationError: no way is answered, and one may be with another key.
            ModelNotFoundError: no way is answered, and one may be with another model.
            ServerUnavailableError: no way is answered, and one may be later.
        """
        errors: list[tuple[str, EngineError]] = []
        for dialect in dialects:
            outcome = await self._tried(Manner(dialect, self.model))
            if not isinstance(outcome, EngineError):
                return outcome
            errors.append((dialect.path, outcome))
        for kind in TELLING:
            if telling := [error for _, error in errors if isinstance(error, kind)]:
                raise telling[0]
        raise self._no_scores(errors)

    async def _tried(self, manner: Manner) -> Manner | EngineError:
        try:
            return await self._switched(await self._formatted(manner))
        except EngineError as error:
            if isinstance(error, ServerFaultError) and error.status != BROKEN:
                raise  # the next route would meet it, too
            return error

    def _no_scores(self, errors: Iterable[tuple[str, EngineError]]) -> UnsupportedServerError:
        """What was asked, what came back, and what to do."""
        serves = f" serves {self.model}, but" if self.model else ""
        replies: dict[str, str] = {}
        for path, error in errors:
            replies.setdefault(path, brief(error))
        return UnsupportedServerError(
            f"{self.connection.url}{serves} gives no scores: {together(replies)}. vLLM must be "
            f"started for scoring, and chat servers such as Ollama cannot score: {START}"
        )

    async def answers_without_key(self, manner: Manner) -> bool:
        """Whether anybody may ask."""
        try:
            await self._ask(manner, authorised=False)
        except EngineError:
            return False
        return True

    # -- who makes the prompt --------------------------------------------------------------------

    async def _formatted(self, manner: Manner) -> Manner:
        """`manner`, with the prompt made exactly once, here or there."""
        if not manner.dialect.takes_text:
            return manner
        if self.formatting == "client":
            return await self._joined(manner)
        raw = replace(manner, formatting="server")
        if self.formatting == "server":
            found = await self._instructed(raw)
            count = tokens_of(await self._ask(found))
            self._refuse_embeddings(found, count)
            if count == self._official(found):
                found = replace(found, evidence="count")
        else:
            found = await self._recognised(manner, raw)
        if found.formatting == "server" and not await self._takes(found, [""]):
            return replace(found, blank=found.dialect.blank)
        return found

    async def _recognised(self, manner: Manner, raw: Manner) -> Manner:
        """Tell by the number of tokens what a server makes of texts."""
        try:
            count = tokens_of(await self._ask(raw))
        except RefusedError:  # what makes no prompt may take whole ones alone
            return await self._whole(manner)
        official, bare = self._official(manner), self._bare_counts()
        if count is None and manner.dialect.formatting == "server":
            return await self._instructed(raw)
        if count is None:
            raise self._uncounted(manner)
        if count in bare:
            return await self._whole(manner)
        instructed = await self._instructed(raw)
        if instructed.instruction:
            count = tokens_of(await self._ask(instructed))
        if count == official:
            return await self._verified(replace(instructed, evidence="count"))
        self._refuse_embeddings(manner, count)
        raise UnsupportedServerError(
            f"{self._route(manner)} makes {count} tokens of two short pairs. Qwen3-Reranker's "
            f"prompt has {official}, the texts alone have {min(bare)}: its template is another "
            f"one, and scores would be wrong. {SERVE}"
        )

    def _refuse_embeddings(self, manner: Manner, count: int | None) -> None:
        """Refuse a server whose number of tokens tells that it reads each text for itself."""
        if count in self._separate_counts():
            raise UnsupportedServerError(
                f"{self._route(manner)} makes {count} tokens of a query and two documents, as one "
                f"does that reads each of them for itself: it compares embeddings. {NO_EMBEDDINGS}"
            )

    def _uncounted(self, manner: Manner) -> UnsupportedServerError:
        return UnsupportedServerError(
            f"{self._route(manner)} does not say how many tokens a prompt has, so whether it makes "
            'Qwen3-Reranker\'s prompt itself is not to be known; pass "client" (it does not) or '
            '"server" (it does, and so does any model with a prompt of its own) as formatting in '
            "engine_options"
        )

    async def _whole(self, manner: Manner) -> Manner:
        """`manner`, if the server takes a whole prompt in two texts as it is."""
        official, count = self._official(manner), tokens_of(await self._ask(manner))
        if count == official:
            return await self._joined(manner)
        if count is None:
            raise self._uncounted(manner)
        raise UnsupportedServerError(
            f"{self._route(manner)} makes {count} tokens of two prompts of {official}: it changes "
            "or cuts them"
        )

    async def _joined(self, manner: Manner) -> Manner:
        """`manner`, if the server reads both texts as one: then it does not matter where they part.

        One that compares embeddings of two texts answers in the same shape, with cosines.
        """
        batch = self.batch(manner)
        prompt = batch.opening + batch.closings()[0]
        usual = len(batch.opening)
        places = [usual, usual, prompt.index("\n") + 1, prompt.rindex("<think>")]
        found = [await self._parted(manner, prompt, place) for place in places]
        noise = _distance(*found[:2])
        if max(_distance(found[0], other) for other in found[2:]) > max(AS_ONE, 3 * noise):
            raise UnsupportedServerError(
                f"{self._route(manner)} gives {listed(found[1:])} for one prompt, by where it is "
                "parted into two texts: it compares embeddings of these, or puts something between "
                f"them. {NO_EMBEDDINGS}"
            )
        return manner

    async def _parted(self, manner: Manner, prompt: str, place: int) -> float:
        """P("yes") of a prompt that parts there."""
        request = manner.request_parted(prompt, place)
        answer = await self.connection.post(manner.dialect.path, request)
        (value,) = manner.read(self.connection.url, answer, 1)
        return value if 0 <= value <= 1 else probability(value)

    async def _instructed(self, raw: Manner) -> Manner:
        """`raw`, with the field in which an instruction is seen to reach the prompt, if one is.

        That a field is not refused says nothing: most servers ignore what they do not know.
        """
        for name in raw.dialect.instruction:
            candidate = replace(raw, instruction=name)
            try:
                if await self._reaches(candidate):
                    return candidate
            except RefusedError:
                continue
        return raw

    async def _reaches(self, manner: Manner) -> bool:
        """Whether two instructions make prompts that differ as they do; or else other scores."""
        plain = await self._ask(manner)
        other = await self._ask(manner, INSTRUCTION)
        counts = tokens_of(plain), tokens_of(other)
        if counts[0] is not None and counts[1] is not None:
            longer = self._official(manner, INSTRUCTION) - self._official(manner)
            return abs(counts[1] - counts[0] - longer) <= len(DOCUMENTS)
        again = await self._ask(manner)
        values = [self._read(manner, answer) for answer in (plain, again, other)]
        noise = max(map(_distance, values[0], values[1]))
        return max(map(_distance, values[0], values[2])) > max(CLOSE, 3 * noise)

    async def _verified(self, manner: Manner) -> Manner:
        """`manner`, with the tokens that the template makes compared, if the server shows them.

        They must be, since the commonest fault, a last newline lost, does not change their number.
        """
        roles = {"query": QUERY, "document": DOCUMENTS[0]}
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in roles.items()],
            "add_generation_prompt": False,
        }
        if manner.instruction:  # the template's own may be another
            request["chat_template_kwargs"] = {"instruction": DEFAULT_INSTRUCTION}
        try:
            found = list((await self.connection.post("/tokenize", request))["tokens"])
        except (EngineError, KeyError, TypeError):
            return manner
        if not found:
            return manner  # llama.cpp reads another field, and no messages
        right = next(self.batch(manner).prompts())
        if found != right:
            raise UnsupportedServerError(
                f"the template of {self.connection.url} makes another prompt than Qwen3-Reranker's "
                f"of a query and a document: it ends with {found[-3:]}, not {right[-3:]}. {SERVE}"
            )
        return replace(manner, evidence="tokens")

    def _official(self, manner: Manner, instruction: str = DEFAULT_INSTRUCTION) -> int:
        """Tokens of Qwen3-Reranker's prompts for the pairs that are asked."""
        return sum(self.batch(manner, instruction).lengths())

    def _bare_counts(self) -> set[int]:
        """Tokens of query and document without a prompt, split together or one by one."""
        query, *documents = map(len, self.tokenizer.encode([QUERY, *DOCUMENTS]))
        joined = self.tokenizer.encode([QUERY + document for document in DOCUMENTS])
        return {query * len(documents) + sum(documents), sum(map(len, joined))}

    def _separate_counts(self) -> set[int]:
        """Tokens of query and documents, each for itself, with or without some at its ends."""
        query, *documents = map(len, self.tokenizer.encode([QUERY, *DOCUMENTS]))
        pairs = len(documents)
        once, paired = query + sum(documents), query * pairs + sum(documents)
        counts = {once + (1 + pairs) * more for more in range(MOST_ENDS + 1)}
        return counts | {paired + 2 * pairs * more for more in range(1, MOST_ENDS + 1)}

    async def _takes(self, manner: Manner, documents: Sequence[str] = DOCUMENTS) -> bool:
        try:
            await self._ask(manner, documents=documents)
        except RefusedError:
            return False
        return True

    # -- what the numbers are --------------------------------------------------------------------

    async def _switched(self, manner: Manner) -> Manner:
        """`manner`, with log-odds where the server can give them."""
        answer = await self._ask(manner)
        manner = replace(manner, answers_as=named_model(answer))
        plain = self._read(manner, answer)
        for field, setting in manner.dialect.switches.items():
            candidate = replace(manner, switch=field, log_odds=True)
            try:
                values = self._read(candidate, await self._ask(candidate))
            except RefusedError:
                continue  # a field that it does not know
            if _alike(values, plain):
                continue  # a field that it does not heed
            if not _alike(map(probability, values), plain):
                raise UnsupportedServerError(
                    f"{self._route(manner)} answers {plain}, and {values} with {field}={setting}: "
                    "these are not probabilities and their log-odds"
                )
            return candidate
        if not all(0 <= value <= 1 for value in plain):
            return replace(manner, log_odds=True)
        return manner

    # -- asking ----------------------------------------------------------------------------------

    async def _ask(
        self,
        manner: Manner,
        instruction: str = DEFAULT_INSTRUCTION,
        *,
        documents: Sequence[str] = DOCUMENTS,
        authorised: bool = True,
    ) -> Any:
        request = manner.request(self.batch(manner, instruction, documents))
        return await self.connection.post(manner.dialect.path, request, authorised=authorised)

    def batch(
        self,
        manner: Manner,
        instruction: str = DEFAULT_INSTRUCTION,
        documents: Sequence[str] = DOCUMENTS,
    ) -> PromptBatch:
        """The pairs of `QUERY` and `documents`, for servers that are asked in this manner."""
        as_text = manner.dialect.takes_text
        return build_batch(self.tokenizer, instruction, QUERY, documents, LENGTH, as_text=as_text)

    def _read(self, manner: Manner, answer: Any) -> list[float]:
        return manner.read(self.connection.url, answer, len(DOCUMENTS))

    def _route(self, manner: Manner) -> str:
        return f"{self.connection.url}{manner.dialect.path}"


def _distance(one: float, other: float) -> float:
    return abs(one - other)


def _alike(some: Iterable[float], others: Iterable[float]) -> bool:
    return all(_distance(*pair) <= CLOSE for pair in zip(some, others, strict=True))
