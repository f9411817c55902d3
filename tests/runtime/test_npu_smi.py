"""What `npu-smi info` prints is read alike, however its release lays it out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_rerank.runtime.detect import family_of
from qwen3_ascend_rerank.runtime.npu_smi import Process, Table, parse
from tests.runtime.computers import LAYOUTS, recorded


@pytest.mark.parametrize(
    ("layout", "version", "name", "family", "places"),
    [
        ("310-20.2.2", "20.2.2", "310", None, [(2048, chip) for chip in range(4)]),
        ("910-21.0.2", "21.0.2", "910A", "910A", [(1, 0), (4, 0)]),
        ("a2-24.1.0", "24.1.0", "910B2", "A2", [(npu, 0) for npu in range(8)]),
        ("duo-25.2.0", "25.2.0", "310P3", "310P", [(1, 0), (1, 1), (4, 0), (4, 1)]),
        ("a5-25.7.rc1", "25.7.rc1", "Ascend950PR", "A5", [(0, 0), (1, 0), (2, 0)]),
        (
            "a3-26.0.rc2",
            "26.0.rc2",
            "Ascend910",
            "A3",
            [(npu, chip) for npu in range(8) for chip in range(2)],
        ),
    ],
)
def test_every_layout_names_its_chips(layout, version, name, family, places):
    table = parse(recorded(layout))
    assert table.version == version
    assert [(chip.npu, chip.number) for chip in table.chips] == places
    assert {chip.name for chip in table.chips} == {name}
    assert family_of(name) == family


@pytest.mark.parametrize(
    ("layout", "device", "used", "total", "processes"),
    [
        ("910-21.0.2", 0, 0, 32768, []),
        (
            "a2-24.1.0",
            0,
            61105,
            65536,
            [Process(1572711, "VLLMWorker_TP", 57746), Process(1572900, "python3.1", 129)],
        ),
        ("a2-24.1.0", 7, 3403, 65536, []),
        ("duo-25.2.0", 2, 39877, 44280, [Process(6290, "VLLMWorker", 37004)]),
        ("duo-25.2.0", 3, 1398, 43693, []),
        ("a5-25.7.rc1", 0, 90633, 114688, [Process(1648703, "VLLMWorker", 87433)]),
        ("a3-26.0.rc2", 15, 31877, 65536, [Process(485946, "VLLMWorker_TP", 28170)]),
        ("a3-26.0.rc2", 14, 3412, 65536, []),
    ],
)
def test_every_layout_tells_memory_and_who_holds_it(layout, device, used, total, processes):
    chip = parse(recorded(layout)).chips[device]
    assert (chip.used, chip.total, chip.processes) == (used, total, processes)


@pytest.mark.parametrize(
    ("layout", "healths"),
    [
        ("a2-24.1.0", ["OK"] * 5 + ["Warning"] + ["OK"] * 2),
        ("a5-25.7.rc1", ["Alarm", "OK", "OK"]),
        ("a3-26.0.rc2", ["OK"] * 16),
    ],
)
def test_every_layout_tells_health(layout, healths):
    assert [chip.health for chip in parse(recorded(layout)).chips] == healths


@given(layout=st.sampled_from(LAYOUTS), end=st.integers(0, 5000), lost=st.sets(st.integers(0, 60)))
def test_a_table_that_is_cut_or_has_gaps_is_read_as_far_as_it_goes(layout, end, lost):
    whole = recorded(layout)
    lines = whole[:end].splitlines()
    table = parse("\n".join(line for number, line in enumerate(lines) if number not in lost))
    assert len(table.chips) <= len(parse(whole).chips)
    known = {(chip.name, chip.health, chip.total) for chip in parse(whole).chips}
    assert all(chip.in_use <= 1 for chip in table.chips)
    assert {(chip.name, chip.health, chip.total) for chip in table.chips if chip.total} <= known


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_process_is_no_chip_even_where_the_head_of_its_table_is_lost(layout):
    whole = recorded(layout)
    headless = "\n".join(line for line in whole.splitlines() if "Process id" not in line)
    assert len(parse(headless).chips) == len(parse(whole).chips)


@given(st.text(alphabet=st.sampled_from("|+-=0123456789 /:OKabNA\n")))
def test_no_text_is_too_strange(text):
    parse(text)


@pytest.mark.parametrize("text", ["", "\n", "dcmi module initialize failed. ret is -8005\n"])
def test_what_is_no_table_has_no_chips(text):
    assert parse(text) == Table(None, ())
