"""Which requests to vLLM's own routes get scores of the official prompt, and which do not.

vLLM answers 200 also where a prompt was cut, padded, doubled or never made. What is wrong with a
request is told by its body alone, whatever its route, since several routes take each form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..prompts import CONTROL_TOKENS, HEAD, TAIL
from . import abilities

_QUERIES = ("query", "queries", "text_1", "data_1")
_DOCUMENTS = ("documents", "text_2", "data_2", "items")
_PROMPTS = ("input",)
"""What the fields are called that make a prompt, on one route or another."""

_QUERY_MARK, _DOCUMENT_MARK = "\n<Query>: ", "<Document>: "
_CONTROL = re.compile("|".join(map(re.escape, CONTROL_TOKENS)))
_CLIENT = "ask through this package, Reranker(base_url=…), which makes it"


@dataclass(frozen=True, slots=True)
class ServerSetup:
    """What the server was started with."""

    version: str
    """Of vLLM."""
    template: bool
    """Whether it makes the prompt of a plain query and a document."""
    instruction: str
    """The one that its template has."""
    head: Sequence[int]
    """Ids that begin every prompt."""
    tail: Sequence[int]
    """Ids that end every prompt; the score is read at the last one."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def mended(request: Mapping[str, Any]) -> dict[str, Any]:
    """What `request` means, in words that vLLM understands.

    A field that is null is one that was not given; vLLM's -1 for ``truncate_prompt_tokens`` means
    "to the context", which is refused as too long without it; SGLang's name for the instruction.
    """
    request = {name: value for name, value in request.items() if value is not None}
    if request.get("truncate_prompt_tokens") == -1:
        del request["truncate_prompt_tokens"]
    if "instruct" in request and "instruction" not in request:
        request["instruction"] = request.pop("instruct")
    return request


def complaint(request: Mapping[str, Any], setup: ServerSetup) -> str | None:
    """Why a score for `request` could not be right, and the way out; None where it is right."""
    found = (*_of_fields(request, setup), *_of_pairs(request, setup), *_of_prompts(request, setup))
    return found[0] if found else None


# ---- fields that change a prompt --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    """A field that can make a score wrong."""

    field: str
    allows: Callable[[Any, ServerSetup], bool]
    why: str
    """What it does, and what to do instead; ``{version}`` and ``{value}`` are put in."""


def _only(*values: Any) -> Callable[[Any, ServerSetup], bool]:
    return lambda value, _: value in values


def _is_instruction(value: Any, _: ServerSetup) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_heeded(value: Any, setup: ServerSetup) -> bool:
    heeded = setup.template and abilities.can(setup.version, "instruction")
    return heeded or value == setup.instruction


def _is_heeded_in_kwargs(value: Any, setup: ServerSetup) -> bool:
    if not isinstance(value, Mapping) or value.keys() - {"instruction"}:
        return False
    texts = value.values()
    return all(_is_instruction(text, setup) and _is_heeded(text, setup) for text in texts)


def _is_untouched(value: Any, setup: ServerSetup) -> bool:
    return setup.template or value == 0


_LONGER = "which would end the prompt elsewhere than where the score is read; leave it out"
_RULES = (
    _Rule(
        "truncate_prompt_tokens", _only(),
        "cuts off the end of the prompt, where the score is read, or its beginning; leave it out, "
        "and cut documents alone, with max_tokens_per_doc (vLLM 0.20 and newer)",
    ),
    _Rule("padding", _only("do_not_pad"), f"puts tokens behind the prompt, {_LONGER}"),
    _Rule("pad_prompt_tokens", _only(), f"puts tokens behind the prompt, {_LONGER}"),
    _Rule("messages", _only(), f"makes another prompt than Qwen3-Reranker's; {_CLIENT}"),
    _Rule("chat_template", _only(), "makes another prompt than Qwen3-Reranker's; leave it out"),
    _Rule("max_tokens_per_query", _is_untouched, "cuts into a prompt that is whole; leave it out"),
    _Rule("max_tokens_per_doc", _is_untouched, "cuts into a prompt that is whole; leave it out"),
    _Rule("instruction", _is_instruction, "must be a text that is not empty; or leave it out"),
    _Rule(
        "instruction", _is_heeded,
        "is not heeded by vLLM {version} as it was started; start it with `qwen3-rerank serve "
        "--instruction TEXT`, or vLLM 0.22 or newer with its template",
    ),
    _Rule("instruct", _only(), "is not heeded beside instruction; leave one of them out"),
    _Rule(
        "chat_template_kwargs", _is_heeded_in_kwargs,
        "can hold nothing but instruction, a text, and that from vLLM 0.22 on; whatever else is in "
        "it changes the prompt; leave it out",
    ),
)  # fmt: skip
"""In the order in which they are told of."""


def _of_fields(request: Mapping[str, Any], setup: ServerSetup) -> Iterator[str]:
    for rule in _RULES:
        if rule.field in request and not rule.allows(request[rule.field], setup):
            value = repr(request[rule.field])
            shown = value if len(value) <= 60 else f"{value[:57]}..."
            yield f"{rule.field} is {shown}, and it {rule.why.format(version=setup.version)}"


# ---- a query and its documents ----------------------------------------------------------------


def _of_pairs(request: Mapping[str, Any], setup: ServerSetup) -> Iterator[str]:
    queries, documents = _texts(request, _QUERIES), _texts(request, _DOCUMENTS)
    for name, text in (*queries, *documents):
        if not isinstance(text, str):
            yield f"{name} holds {type(text).__name__}; send texts, as JSON strings"
            return
    judge = _of_plain if setup.template else _of_whole
    yield from judge([text for _, text in queries], [text for _, text in documents], setup)


def _of_plain(queries: Sequence[str], documents: Sequence[str], _: ServerSetup) -> Iterator[str]:
    if not all(map(str.strip, queries)):
        yield "the query is empty; send the question that the documents should meet"
    if any(map(_has_opening, queries)) or any(map(_has_closing, documents)):
        yield (
            "the query or a document holds Qwen3-Reranker's prompt already, and this server makes "
            "it: it would be doubled; send the bare query and the bare documents"
        )


def _has_opening(query: str) -> bool:
    return query.lstrip().startswith((CONTROL_TOKENS[0], "<Instruct>:"))


def _has_closing(document: str) -> bool:
    return document.rstrip().endswith(TAIL.rstrip()) or document.lstrip().startswith("<Document>:")


def _of_whole(
    queries: Sequence[str], documents: Sequence[str], setup: ServerSetup
) -> Iterator[str]:
    styles = {_continuation(query) for query in queries}
    continuation = styles.pop() if len(styles) == 1 else None
    if not queries and not documents:
        return
    if continuation is None or not all(
        document.startswith(continuation) and _is_closing(document) for document in documents
    ):
        yield _unmade(setup)


def _continuation(query: str) -> str | None:
    """What must follow the beginning of a prompt; None where it is none."""
    if not query.startswith(f"{HEAD}<Instruct>: "):
        return None
    body = query[len(HEAD) :]
    _, mark, asked = body.partition(_QUERY_MARK)
    if not mark or _CONTROL.search(body) or not asked.endswith(("\n", f"\n{_DOCUMENT_MARK[:-1]}")):
        return None
    ends_with_newline = asked.endswith("\n")
    asked = asked if ends_with_newline else asked.removesuffix(_DOCUMENT_MARK[:-1])
    return None if not asked.strip() else _DOCUMENT_MARK if ends_with_newline else " "


def _is_closing(document: str) -> bool:
    return document.endswith(TAIL) and not _CONTROL.search(document[: -len(TAIL)])


def _unmade(setup: ServerSetup) -> str:
    why, way = (
        ("it was started with --no-template", "start it without")
        if abilities.can(setup.version, "template")
        else (f"vLLM {setup.version} applies no template", "serve with 0.14 or newer")
    )
    return (
        "this server makes no prompt of a plain query and documents, whose scores would mean "
        f"nothing: {why}; {way}, send Qwen3-Reranker's whole prompt, or {_CLIENT}"
    )


# ---- prompts ----------------------------------------------------------------------------------


def _of_prompts(request: Mapping[str, Any], setup: ServerSetup) -> Iterator[str]:
    for name in _PROMPTS:
        value = request.get(name, [])
        single = isinstance(value, str) or (_is_list(value) and value and _is_id(value[0]))
        prompts = [value] if single else value
        if not _is_list(prompts) or not all(_is_prompt(prompt, setup) for prompt in prompts):
            yield (
                f"{name} is not Qwen3-Reranker's whole prompt, from its first token to its last, "
                f"and a score for it would mean nothing; send a query and documents to /v1/rerank, "
                f"or {_CLIENT}"
            )


def _is_prompt(prompt: Any, setup: ServerSetup) -> bool:
    if isinstance(prompt, str):
        opening, mark, document = prompt.partition(f"\n{_DOCUMENT_MARK}")
        return bool(mark) and _continuation(f"{opening}\n") is not None and _is_closing(document)
    head, tail = list(setup.head), list(setup.tail)
    return (
        _is_list(prompt)
        and len(prompt) > len(head) + len(tail)
        and prompt[: len(head)] == head
        and prompt[-len(tail) :] == tail
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_id(value: Any) -> bool:
    return isinstance(value, int)


def _texts(request: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, Any]]:
    """Every text that one of the fields gives."""
    given = [(name, request[name]) for name in names if name in request]
    return [
        (name, text) for name, value in given for text in (value if _is_list(value) else [value])
    ]
