"""What a server can do wrong, as changes of its right answer."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .wire import Answer, Ending, Sent

Fault = Callable[[Answer], Answer]

# -- in the delivery ---------------------------------------------------------------------------


def slow(seconds: float) -> Fault:
    """Right, after a while."""
    return lambda answer: replace(answer, delay=seconds)


def dripping(pause: float) -> Fault:
    """Right, byte by byte: no single read ever waits long."""
    return lambda answer: replace(answer, pause=pause)


def broken(sent: Sent, ending: Ending) -> Fault:
    """Only so much of it is sent, and then this happens."""
    return lambda answer: replace(answer, sent=sent, ending=ending)


def endless(answer: Answer) -> Answer:
    """A body without a length that never ends."""
    headers = {"content-type": "application/json", "content-length": "", "connection": "close"}
    return replace(answer, headers=headers, body=b" ", ending="endless")


def declared(extra: int) -> Fault:
    """A content-length that is wrong by so much; the connection is closed then."""

    def spoil(answer: Answer) -> Answer:
        length = str(len(answer.body) + extra)
        return replace(answer, headers={**answer.headers, "content-length": length}, ending="close")

    return spoil


# -- in the status -----------------------------------------------------------------------------


def status(code: int, message: str = "no", **headers: str) -> Fault:
    """An error in vLLM's form; `retry_after="1"` becomes the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = {"error": {"message": message, "type": "Some", "param": None, "code": code}}
    return lambda _: Answer.of(content, code, **named)


def refusal(code: int, content: Any) -> Fault:
    """An error with a body of its own form."""
    return lambda _: Answer.of(content, code)


def page(code: int, text: str = "<html><body><h1>Bad Gateway</h1></body></html>") -> Fault:
    """A page for people, as proxies send it."""
    return lambda _: Answer(code, text.encode(), {"content-type": "text/html"})


# -- in the body -------------------------------------------------------------------------------


def body(content: bytes, **headers: str) -> Fault:
    """These bytes with status 200."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda answer: replace(answer, body=content, headers={**answer.headers, **named})


def truncated(answer: Answer) -> Answer:
    """Half of the JSON, in a response that is otherwise whole."""
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def compressed(answer: Answer) -> Answer:
    """Right, in gzip."""
    headers = {**answer.headers, "content-encoding": "gzip"}
    return replace(answer, body=gzip.compress(answer.body), headers=headers)


def edited(edit: Callable[[list[Any]], list[Any] | None]) -> Fault:
    """The rows of results, changed in place or replaced."""

    def spoil(answer: Answer) -> Answer:
        content = json.loads(answer.body)
        rows = find_rows(content)
        changed = edit(rows)
        rows[:] = rows if changed is None else changed
        return replace(answer, body=json.dumps(content).encode())

    return spoil


def scored(value: Any, place: int = -1) -> Fault:
    """One of the scores replaced."""

    def edit(rows: list[Any]) -> None:
        key = next(
            name for name in ("probs", "data", "relevance_score", "score") if name in rows[0]
        )
        rows[place][key] = [value] if key in ("probs", "data") else value

    return edited(edit)


def indexed(value: Any, place: int = -1) -> Fault:
    """One of the indices replaced."""
    return edited(lambda rows: rows[place].update(index=value))


def find_rows(content: Any) -> list[Any]:
    """The list of results in any dialect's answer."""
    return content if isinstance(content, list) else content.get("data", content.get("results"))
