"""What a plan says of versions: which are unknown, which belong together, which are refused."""

import dataclasses

import pytest

from qwen3_ascend_rerank.errors import EngineError
from qwen3_ascend_rerank.runtime.detect import Machine
from qwen3_ascend_rerank.runtime.plan import pairing_of, unpaired
from qwen3_ascend_rerank.runtime.rules import Releases
from qwen3_ascend_rerank.runtime.versions import PAIRINGS
from tests.runtime.machines import cuda, npu, planned


class TestReleases:
    @pytest.mark.parametrize(
        ("version", "inside"),
        [
            ("0.13.0.dev1", True),
            ("0.13.0rc1", True),
            ("0.13.0", True),
            ("0.13.0.post1", True),
            ("0.13.0+cpu", True),
            ("0.17.0rc1.dev9+g1a2b3c4", True),
            ("0.18.0.dev1", True),
            ("0.18.0rc1", False),
            ("0.18.0", False),
            ("0.12.9", False),
            ("0.12.0rc1", False),
            (None, False),
            ("main", False),
        ],
    )
    def test_take_every_form_of_version(self, version, inside):
        assert (version in Releases("0.13", until="0.18.0rc1")) is inside

    def test_without_an_end_go_on(self):
        assert "99.0" in Releases("0.13")


class TestUnknown:
    @pytest.mark.parametrize("version", ["0.34.0", "1.0", "0.34.0.dev1+gabc", "main"])
    def test_newer_than_the_table_is_said_and_tried(self, version):
        made = planned(cuda(version))
        made.check()
        assert f"vLLM {version}: nothing is known" in str(made.warnings[0])

    @pytest.mark.parametrize("version", ["0.33.0", "0.33.1", "0.32.0"])
    def test_known_is_not(self, version):
        assert not planned(cuda(version)).warnings

    def test_a_newer_plugin_is_said(self):
        assert "newest known is 0.30" in str(planned(npu("0.31.0")).warnings[0])


class TestPairings:
    @pytest.mark.parametrize("row", PAIRINGS, ids=lambda row: row.vllm_ascend)
    def test_what_belongs_together_is_not_complained_of(self, row):
        machine = Machine(
            "npu",
            1,
            cann=row.cann,
            vllm=f"{row.vllm[-1]}+empty",
            vllm_ascend=row.vllm_ascend,
            torch=f"{row.torch}+cpu",
            torch_npu=row.torch_npu,
            vllm_platform="npu",
        )
        assert not [each for each in planned(machine).warnings if "made for" in each.why]

    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            ({"vllm": "0.19.0"}, "made for vLLM 0.18.0, found 0.19.0"),
            ({"cann": "8.3.RC2"}, "made for CANN 8.5.1, found 8.3.RC2"),
            ({"torch": "2.10.0"}, "made for torch 2.9.0, found 2.10.0"),
            ({"torch_npu": "2.8.0"}, "made for torch_npu 2.9.0.post1+git4c901a4, found 2.8.0"),
            ({"transformers": "5.5.4"}, "made for transformers >=4.57.4,<5, found 5.5.4"),
        ],
    )
    def test_what_does_not_is_named(self, changed, why):
        machine = dataclasses.replace(npu("0.18.0"), **changed)
        assert [each.why for each in planned(machine).warnings] == [why]

    def test_what_a_failed_start_says_of_it_has_the_next_step(self):
        machine = dataclasses.replace(npu("0.18.0"), vllm="0.19.0", torch="2.10.0")
        assert unpaired(machine) == (
            "vllm-ascend 0.18.0 is made for vLLM 0.18.0, found 0.19.0, made for torch 2.9.0, found "
            "2.10.0: install the pair, which `qwen3-rerank doctor` names"
        )
        assert not unpaired(npu("0.18.0"))

    def test_a_post_release_counts_as_its_release(self):
        assert pairing_of("0.23.0.post1").vllm == ("0.23.0",)

    def test_an_unlisted_release_has_none(self):
        assert pairing_of("0.24.0rc1") is None
        assert not planned(npu("0.24.0rc1")).warnings


def test_a_plan_names_the_version_the_fault_and_the_way_out():
    made = planned(cuda("0.10.1"), tensor_parallel_size=2)
    assert str(made.refusals[0]).startswith("vLLM 0.10.1: the score head")
    with pytest.raises(EngineError, match=r"tensor_parallel_size=1 \(vllm-project/vllm#23804\)"):
        made.check()


def test_every_refusal_is_told_at_once():
    made = planned(cuda("0.10.1"), tensor_parallel_size=2, quantization={"quant_method": "fp8"})
    with pytest.raises(EngineError, match=r"23804\)\n.*35849"):
        made.check()
