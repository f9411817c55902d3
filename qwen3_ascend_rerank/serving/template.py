"""The score template: Qwen3-Reranker's prompt, made in the server, with any instruction."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

from ..checks import checked_text
from ..errors import InvalidInputError, UnsupportedModelError
from ..prompts import DEFAULT_INSTRUCTION, build_batch, load_tokenizer
from ..prompts.tokenizer import CONFIGURATION
from ..runtime.paths import cache_folder
from ..runtime.rules import Releases

FILE = Path(__file__).with_name("score_template.jinja")
"""With the official instruction; source of every other."""

SEGMENTS = "token_type_ids"
PLAIN_CLASSES = ("PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend")
MAKES_SEGMENTS = Releases(until="5.0")
"""Releases of transformers whose plain classes make them unless told otherwise."""
_SAMPLE = ("What is the capital of China?", "The capital of China is Beijing.")


def template_text(instruction: str = DEFAULT_INSTRUCTION) -> str:
    """The template with `instruction` for requests that bring none.

    Raises:
        InvalidInputError: it is empty, or no text.
    """
    text, official = FILE.read_text(encoding="utf-8"), literal(DEFAULT_INSTRUCTION)
    return text.replace(official, literal(_checked(instruction)))


def template_file(instruction: str = DEFAULT_INSTRUCTION) -> Path:
    """A file with `template_text(instruction)`, in the cache unless it is the official one.

    Raises:
        InvalidInputError: as `template_text`.
        OSError: it cannot be written.
    """
    text = template_text(instruction)
    if instruction == DEFAULT_INSTRUCTION:
        return FILE
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    file = cache_folder() / f"score_template-{name}.jinja"
    descriptor, aside = tempfile.mkstemp(prefix=".score_template-", dir=file.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
    Path(aside).replace(file)  # whole at once: servers may be reading it
    return file


def literal(text: str) -> str:
    """`text` as a string in a Jinja expression, in ASCII, with nothing that could end it.

    Jinja decodes the escapes of its strings as Python does.
    """
    escaped = text.encode("unicode_escape").decode("ascii")
    return '"' + "".join(f"\\x{ord(one):02x}" if one in "\"'{}%#" else one for one in escaped) + '"'


def check_tokenizer(
    file: Path,
    instruction: str,
    max_length: int,
    *,
    way_out: str = "mend it, or give --no-template and ask with this package's own clients, which "
    "send token ids",
) -> None:
    """See to it that the server makes the right ids of the template's text.

    Args:
        file: the model's ``tokenizer.json``.
        instruction: the template's own.
        max_length: longest prompt, in tokens.
        way_out: what a person can do where it does not.

    Raises:
        QueryTooLongError: the instruction leaves no room for a query and a document.
        UnsupportedModelError: the tokenizer adds something to a text, or splits the prompt
            otherwise than Qwen's.
    """
    query, document = _SAMPLE
    batch = build_batch(
        load_tokenizer(file), instruction, query, [document], max_length, as_text=True
    )
    text = batch.opening + batch.closings()[0]
    found = Tokenizer.from_file(str(file)).encode(text).ids
    right = next(batch.prompts())
    if found != right:
        raise UnsupportedModelError(
            f"{file} makes {len(found)} tokens of a prompt of {len(right)}, ending with "
            f"{found[-3:]} instead of {right[-3:]}: plain queries and documents would get wrong "
            f"scores; {way_out}"
        )


def check_inputs(folder: Path, transformers: str | None) -> None:
    """See to it that the server makes nothing but ids of a text.

    Segments (``token_type_ids``) beside them reach a model that takes none, and vLLM's engine ends
    at the first such request. Qwen's own tokenizer class makes none; a plain one does before
    transformers 5, unless ``model_input_names`` says otherwise.

    Args:
        folder: with the model's ``tokenizer_config.json``.
        transformers: the installed release; None: unknown.

    Raises:
        UnsupportedModelError: it makes segments.
    """
    try:
        said = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = {}
    kind = str(said.get("tokenizer_class") or PLAIN_CLASSES[0])
    names = said.get("model_input_names")
    plain = kind in PLAIN_CLASSES and transformers in MAKES_SEGMENTS
    if SEGMENTS in names if isinstance(names, list) else plain:
        raise UnsupportedModelError(
            f"the tokenizer of {folder} ({kind}) makes {SEGMENTS} of texts, at which vLLM's engine "
            'ends; write "model_input_names": ["input_ids", "attention_mask"] into its '
            f"{CONFIGURATION}, or give --no-template and ask with this package's own clients, "
            "which send token ids"
        )


def _checked(instruction: str) -> str:
    checked_text("instruction", instruction)
    try:
        instruction.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            f"instruction is {instruction!r}, which is no text: the terminal sent bytes that are "
            "not UTF-8"
        ) from None
    return instruction
