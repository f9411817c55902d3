"""`qwen3-rerank plan`."""

import pytest
from typer.testing import CliRunner

from qwen3_ascend_rerank.commands.program import app


def run(*arguments: str):
    return CliRunner().invoke(app, ["plan", *arguments], env={"COLUMNS": "200"})


def test_says_how_many_cards_and_how_that_was_reckoned() -> None:
    done = run("--pairs", "10M", "--tokens", "300", "--tokens-per-second", "50k")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "10,000,000 pairs x 300 tokens = 3,000,000,000 tokens",
        "one card: 50,000 tokens a second (as given)",
        "kept free: 20%, so 20.8 hours on one card",
        "within 24 hours: 1 card, 20.8 hours",
    ]


def test_says_how_long_some_cards_take_on_paper() -> None:
    done = run("--pairs", "10M", "--cards", "4", "--peak", "280", "--size", "4B", "--share", "0.5")
    assert "on paper: 280 TFLOPS x 0.5 / 7.418 GFLOP a token" in done.stdout
    assert done.stdout.splitlines()[-1] == "4 cards: 23.5 hours"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give one of --bench, --tokens-per-second and --peak"),
        (["--peak", "1", "--tokens-per-second", "1"], "give one of"),
        (["--peak", "280", "--size", "7B"], "size is '7B' (str); use one of 0.6B, 4B, 8B"),
        (["--peak", "280", "--share", "2"], "--share is 2.0 (float); pass a number in (0, 1]"),
        (["--tokens-per-second", "fast"], "--tokens-per-second is 'fast'"),
        (["--bench", "none.json"], "none.json cannot be read"),
    ],
)
def test_what_cannot_be_reckoned_is_one_line(arguments: list[str], told: str) -> None:
    done = run("--pairs", "1000", *arguments)
    assert done.exit_code == 1
    assert told in done.stderr
