"""benchmarks/: what its figures are made of; the measurements themselves are run by hand."""

import json
import math
import re
import signal
import subprocess
import sys
from argparse import ArgumentTypeError
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from benchmarks import compare, gateway_endurance, int8, own_cost
from benchmarks.comparison import report
from benchmarks.comparison.contenders import CONTENDERS
from benchmarks.comparison.report import Sample
from benchmarks.comparison.roofline import Limit, Shapes
from benchmarks.comparison.workload import AROUND, GEOMETRIES, Cell, Workload
from qwen3_ascend_rerank.prompts import load_tokenizer
from tests.support.models import write_original

ROOT = Path(__file__).parents[1]
CELL = Cell(50, 50, 10)
LIMIT = Limit(tokens_per_second=2000.0, gflops=100.0, rows=512)


def sample(name: str, seconds: float, **changes: object) -> Sample:
    given = {
        "group": 0,
        "cell": CELL,
        "round": 0,
        "tokens": 1000,
        "memory": 0,
        "log_odds": [1.0],
        "limit": LIMIT,
    }
    return Sample(**{"name": name, "seconds": seconds, **given, **changes})


def lines(*samples: Sample) -> dict[str, report.Line]:
    return {one.name: one for one in report.lines(samples, "torch-engine", {}, CELL)}


class TestLines:
    def test_ratios_between_groups_go_through_the_anchor(self) -> None:
        found = lines(
            sample("torch-engine", 1.0),
            sample("official", 4.0),
            # the machine is half as fast now
            sample("torch-engine", 2.0, group=1),
            sample("vllm", 4.0, group=1),
        )
        ratios = {name: line.ratio for name, line in found.items()}
        assert ratios == {"official": 1.0, "vllm": 2.0, "torch-engine": 4.0}

    @pytest.mark.parametrize(("value", "wrong"), [(1.0009, False), (1.002, True), (math.nan, True)])
    def test_other_scores_are_marked_wrong(self, value: float, wrong: bool) -> None:
        found = lines(sample("official", 1.0), sample("torch-engine", 1.0, log_odds=[value]))
        assert found["torch-engine"].wrong is wrong
        assert ("**wrong**" in report.markdown(list(found.values()), CELL)) is wrong

    def test_what_was_asked_when_the_anchor_had_ended_does_not_count(self) -> None:
        found = lines(
            sample("torch-engine", 1.0),
            sample("official", 4.0),
            sample("official", 1.0, round=1),
        )
        assert found["official"].ratio == 1.0
        assert found["torch-engine"].ratio == 4.0

    def test_a_cell_that_the_anchor_never_got_to_has_no_lines(self) -> None:
        assert lines(sample("official", 4.0)) == {}

    def test_the_share_is_that_of_the_limit_when_it_was_asked(self) -> None:
        slower = Limit(tokens_per_second=1000.0, gflops=50.0, rows=512)
        found = lines(
            sample("torch-engine", 1.0),
            sample("torch-engine", 2.0, group=1, limit=slower),
            sample("vllm", 4.0, group=1, limit=slower),
        )
        assert {name: line.share for name, line in found.items()} == {
            "torch-engine": 0.5,
            "vllm": 0.25,
        }

    def test_memory_that_cannot_be_seen_is_no_number(self) -> None:
        found = lines(sample("torch-engine", 1.0, memory=None))
        assert "| not seen |" in report.markdown(list(found.values()), CELL)

    def test_a_missing_contender_is_no_line(self) -> None:
        assert list(lines(sample("torch-engine", 1.0))) == ["torch-engine"]

    def test_growth_is_the_exponent_of_time_in_documents(self) -> None:
        samples = [sample("vllm", 1.0), sample("vllm", 100.0, cell=Cell(50, 50, 100))]
        assert report.growth(samples, "vllm") == {"50": pytest.approx(2.0)}

    def test_the_picture_has_a_bar_for_each_that_is_right(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        rows = lines(sample("official", 1.0), sample("torch-engine", 1.0, log_odds=[5.0]))
        report.draw(list(rows.values()), CELL, file := tmp_path / "compare.svg")
        drawn = file.read_text()
        assert "<!-- official transformers code -->" in drawn
        assert "TorchEngine" not in drawn
        for explained in ("this package", "others", "slowest to fastest round"):
            assert f"<!-- {explained} -->" in drawn
        assert f"{CELL}, in prompts of {CELL.low + AROUND}-{CELL.high + AROUND} " in drawn

    def test_a_picture_of_nothing_right_is_drawn_too(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        rows = lines(sample("torch-engine", 1.0, log_odds=[math.nan]))
        report.draw(list(rows.values()), CELL, tmp_path / "compare.svg")

    def test_the_picture_of_a_profile_leaves_out_what_is_wrong(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        tables = {}
        for cell in (CELL, Cell(200, 200, 10), Cell(50, 50, 100)):
            samples = [
                sample("official", 2.0, cell=cell),
                sample("torch-engine", 1.0, cell=cell),
                sample("vllm", 1.0, cell=cell, log_odds=[5.0]),
            ]
            tables[cell] = report.lines(samples, "torch-engine", {}, cell)
        report.draw_profile(tables, file := tmp_path / "profile.svg")
        drawn = file.read_text()
        assert "<!-- TorchEngine -->" in drawn
        assert "<!-- times official transformers code -->" in drawn
        assert "vLLM" not in drawn
        assert drawn.count("<!-- 50 -->") == 2
        assert drawn.count("<!-- 200 -->") == 1  # 100 passages of 200 tokens were not asked

    def test_each_way_has_a_colour_of_its_own(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        samples = [sample(name, 1.0) for name in CONTENDERS]
        tables = {CELL: report.lines(samples, "torch-engine", {}, CELL)}
        report.draw_profile(tables, file := tmp_path / "profile.svg")
        colours = re.findall(r"stroke: (#\w+); stroke-width: 1.5", file.read_text())
        assert len(set(colours)) == len(CONTENDERS)

    def test_the_picture_of_a_profile_holds_every_point(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        figure = pytest.importorskip("matplotlib.figure").Figure
        tops: list[float] = []
        monkeypatch.setattr(
            figure, "savefig", lambda self, _: tops.extend(one.get_ylim()[1] for one in self.axes)
        )
        tables = {}
        for cell, seconds in {CELL: 2.0, Cell(50, 50, 100): 9.0}.items():
            samples = [
                sample("official", seconds, cell=cell),
                sample("torch-engine", 1.0, cell=cell),
            ]
            tables[cell] = report.lines(samples, "torch-engine", {}, cell)
        report.draw_profile(tables, Path("profile.svg"))
        assert len(tops) == 2
        assert min(tops) > 9


class TestProfile:
    def test_full_has_every_length_in_every_number(self) -> None:
        cells = compare._cells("full")
        assert {(cell.count, cell.low) for cell in cells} == {
            (count, length) for count in (10, 100) for length in (50, 200, 1000)
        }
        assert all(cell.low == cell.high for cell in cells)

    @pytest.mark.parametrize("text", ["", "50", "10x", "0x50", "10x50,", "10x-1", "quick"])
    def test_what_is_no_profile_is_named(self, text: str) -> None:
        with pytest.raises(ArgumentTypeError, match="such as 10x50"):
            compare._cells(text)


class TestGroups:
    @pytest.mark.parametrize("alive", [1, 2, 3, 9])
    def test_everyone_takes_part_once_and_memory_holds(self, alive: int) -> None:
        made = list(compare.groups(list(CONTENDERS), alive))
        asked = [name for group in made for name in group]
        assert sorted([*asked, compare.ANCHOR]) == sorted(CONTENDERS)
        assert max(map(len, made)) <= max(1, alive - 1)

    def test_the_anchor_alone_is_a_group(self) -> None:
        assert list(compare.groups([compare.ANCHOR], 3)) == [[]]


class TestWorkload:
    def test_a_word_is_a_token_and_requests_differ(self, qwen_file: Path) -> None:
        workload = Workload(load_tokenizer(qwen_file), qwen_file)
        first, second = (workload.request(CELL, seed) for seed in (1, 2))
        assert first.tokens == second.tokens == 10 * (50 + workload.overhead())
        assert workload.overhead() == AROUND
        assert first.query != second.query
        assert not {*first.documents} & {*second.documents}
        assert workload.request(CELL, 1) == first


class TestRoofline:
    def test_products_of_the_geometry_are_its_parameters(self) -> None:
        shapes = Shapes.of(GEOMETRIES["0.6B"])
        assert shapes.flops / 1e9 == pytest.approx(0.881, abs=5e-4)
        rates = dict(shapes.on_paper(512)).values()
        assert [rate / 1000 for rate in rates] == pytest.approx([298, 400, 1050], rel=0.005)


class TestOwnCost:
    @pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
    def test_finds_the_exponent(self, power: float) -> None:
        counts = own_cost.GROWTH_COUNTS
        found = own_cost.exponent(counts, [3e-4 * count**power for count in counts])
        assert found == pytest.approx(power)

    def test_calls_alternate(self) -> None:
        called: list[str] = []
        taken = own_cost.alternating(2, lambda: called.append("a"), lambda: called.append("b"))
        assert [len(one) for one in taken] == [2, 2]
        assert all(one != other for one, other in pairwise(called))

    def test_texts_are_tokenised_once(self) -> None:
        asked: list[list[str]] = []
        encode = own_cost.remembering(lambda texts: asked.append([*texts]) or [[1]])
        assert encode(None, ["a"]) == encode(None, ["a"]) == [[1]]
        assert asked == [["a"]]


class TestInt8:
    def test_a_row_is_rounded_whatever_stands_beside_it(self) -> None:
        rows = torch.randn(5, 64)
        alone = int8.rounded(rows[2:3])
        assert torch.equal(int8.rounded(rows)[2:3], alone)
        assert (alone - rows[2:3]).abs().max() <= rows[2].abs().max() / 127 * 0.501

    def test_a_layer_is_rounded_however_its_weight_lies_in_memory(self) -> None:
        plain = torch.nn.Linear(64, 8, bias=False)
        packed = torch.nn.Linear(64, 8, bias=False)
        packed.weight = torch.nn.Parameter(plain.weight.detach().to_mkldnn(), requires_grad=False)
        rows = torch.randn(5, 64)
        assert torch.equal(int8.RoundedLinear(packed)(rows), int8.RoundedLinear(plain)(rows))


@pytest.mark.full
class TestComparisonAsAUserRunsIt:
    @pytest.fixture
    def command(self, qwen_file: Path, tmp_path: Path) -> list[object]:
        model = tmp_path / "model"
        write_original(model, qwen_file, tied=True)
        return [
            *(sys.executable, "-m", "benchmarks.compare", "--model", model, "--rounds", "2"),
            *("--only", "official,torch-engine", "--count", "4", "--output", tmp_path / "out"),
        ]

    @pytest.mark.parametrize(("patience", "rounds"), [("60", 2), ("0", 1)])
    def test_prints_a_table_and_saves_all(
        self, command: list[object], tmp_path: Path, patience: str, rounds: int
    ) -> None:
        done = subprocess.run(
            [*command, "--patience", patience], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert done.returncode == 0
        assert "| TorchEngine |" in done.stdout
        saved = json.loads((tmp_path / "out" / "compare.json").read_text())
        assert len(saved["samples"]) == 2 * rounds
        assert saved["left_out"] == {}

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_it_writes_what_there_is(
        self, command: list[object], tmp_path: Path, number: signal.Signals
    ) -> None:
        with subprocess.Popen(
            [*command, "--rounds", "100000"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            assert running.stderr
            while "round 3: official" not in running.stderr.readline():
                assert running.poll() is None
            running.send_signal(number)
            running.send_signal(number)  # by somebody impatient
            output, _ = running.communicate(timeout=120)
        assert running.returncode == 130
        assert "| TorchEngine |" in output
        saved = json.loads((tmp_path / "out" / "compare.json").read_text())
        assert len(saved["samples"]) >= 6


class TestTheGatewaysEndurance:
    @staticmethod
    def found(**changes: object) -> gateway_endurance.Found:
        refused = dict.fromkeys(("the queue is full", *gateway_endurance.REFUSED), 1)
        return gateway_endurance.Found(
            **{
                "answers": 3,
                "refused": gateway_endurance.Counter(refused),
                "seconds": [1.0, 2.0, 3.0],
                "memory": [90.0, 95.0, 96.0, 96.0, 97.0],
                **changes,
            }
        )

    def test_is_good_where_nothing_was_lost_or_wrong_and_memory_is_flat(self) -> None:
        assert self.found().is_good
        assert self.found().figures()["growth_mib"] == 2.0

    @pytest.mark.parametrize(
        "changes",
        [
            {"lost": ["ConnectError"]},
            {"worst": 1e-3},
            {"unexplained": ["429"]},
            {"refused": gateway_endurance.Counter()},
            {"memory": [90.0, 95.0, 96.0, 96.0, 150.0]},
        ],
        ids=str,
    )
    def test_is_not_where_one_of_them_is_otherwise(self, changes: dict[str, object]) -> None:
        assert not self.found(**changes).is_good
