"""`qwen3-rerank convert`."""

from pathlib import Path

from typer.testing import CliRunner

from qwen3_ascend_rerank.commands.program import app
from qwen3_ascend_rerank.models import lexical
from tests.support.adapters import write_adapter


def run(*arguments: str | Path):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)], env={"COLUMNS": "200"})


def test_says_what_it_wrote_and_how_to_go_on(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", lexical.checkpoint_folder())
    target = tmp_path / "target"
    done = run("lexical", target, "--adapter", adapter)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"{target}: 1 file of weights, 0.03 GB, an adapter merged into 6 weights",
        f"qwen3-rerank serve {target}",
        f"vllm serve {target} --runner pooling --chat-template {target}/chat_template.jinja",
    ]


def test_what_cannot_be_converted_is_one_line(tmp_path: Path) -> None:
    assert run("lexical", tmp_path / "one").exit_code == 0
    done = run(tmp_path / "one", tmp_path / "two")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert "already; use it as it is" in done.stderr
