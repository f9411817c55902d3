"""`qwen3-rerank convert`: an original checkpoint for engines that want a head for scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ..conversion import Converted
from ..conversion import convert as converted
from ..prompts import DEFAULT_INSTRUCTION
from .screen import counted, output, waiting


def convert(
    source: Annotated[str, typer.Argument(help="Folder or hub id of an original Qwen3-Reranker.")],
    target: Annotated[Path, typer.Argument(help="Folder to write; not there yet, or empty.")],
    adapter: Annotated[
        Path | None,
        typer.Option(help="Folder of a LoRA adapter (PEFT, ms-swift, LLaMA-Factory) to merge."),
    ] = None,
    instruction: Annotated[
        str, typer.Option(help="What makes a document relevant where a request does not say.")
    ] = DEFAULT_INSTRUCTION,
) -> None:
    """Make a sequence classification checkpoint, which vLLM and others load without options.

    [dim]qwen3-rerank convert Qwen/Qwen3-Reranker-0.6B ./reranker[/]

    [dim]qwen3-rerank convert Qwen/Qwen3-Reranker-0.6B ./tuned --adapter ./checkpoint-500[/]
    """
    with waiting(f"converting {source}"):
        made = converted(source, target, adapter=adapter, instruction=instruction)
    for line in lines(made):
        output().print(Text(line), soft_wrap=True)


def lines(made: Converted) -> list[str]:
    """What was written, and how to go on."""
    size = f"{counted(made.shards, 'file')} of weights, {made.size / 1e9:.2f} GB"
    merged = f", an adapter merged into {counted(made.merged, 'weight')}" if made.merged else ""
    template = made.folder / "chat_template.jinja"
    return [
        f"{made.folder}: {size}{merged}",
        f"qwen3-rerank serve {made.folder}",
        f"vllm serve {made.folder} --runner pooling --chat-template {template}",
    ]
