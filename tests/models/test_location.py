"""A model is the folder that was there when it was asked for, whatever happens to paths later."""

import copy
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_rerank import InvalidInputError, Reranker
from qwen3_ascend_rerank.components.component import RerankComponent
from qwen3_ascend_rerank.engines.torch import TorchEngine
from qwen3_ascend_rerank.engines.vllm import VLLMEngine
from qwen3_ascend_rerank.models.lexical import tokenizer_file
from qwen3_ascend_rerank.models.location import Location
from qwen3_ascend_rerank.prompts import load_tokenizer
from tests.support.models import write_original

QUERY, DOCUMENTS = "capital of China", ["Beijing", "Bread needs flour."]


@pytest.fixture(scope="module")
def models(qwen_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models that differ in their weights and in nothing else."""
    place = tmp_path_factory.mktemp("models")
    return (
        write_original(place / "one", qwen_file, tied=True),
        write_original(place / "other", qwen_file, tied=True, initializer_range=0.5),
    )


@pytest.fixture(scope="module")
def expected(models: tuple[Path, Path]) -> list[list[float]]:
    """What each of them says."""
    found = []
    for model in models:
        with Reranker(model) as reranker:
            found.append(reranker.score(QUERY, DOCUMENTS))
    assert found[0] != pytest.approx(found[1], abs=1e-3)
    return found


@pytest.fixture
def folders(models: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Two working folders, with a model in each that is called m."""
    for name, model in zip(("here", "there"), models, strict=True):
        shutil.copytree(model, tmp_path / name / "m")
    return tmp_path / "here", tmp_path / "there"


def scores(reranker: Reranker) -> list[float]:
    return reranker.score(QUERY, DOCUMENTS)


class TestAnotherWorkingFolder:
    def test_has_another_model_by_the_same_name(
        self,
        folders: tuple[Path, Path],
        expected: list[list[float]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(folders[0])
        with Reranker("./m") as one:
            assert scores(one) == pytest.approx(expected[0], abs=1e-5)
            monkeypatch.chdir(folders[1])
            with Reranker("./m") as other:
                assert scores(other) == pytest.approx(expected[1], abs=1e-5)
                assert other.rerank(QUERY, DOCUMENTS).model == "./m"
                assert other.start().model == "./m"

    @pytest.mark.parametrize("name", ["./m", "../here/m"])
    def test_changes_no_reranker_that_has_not_started(
        self,
        name: str,
        folders: tuple[Path, Path],
        expected: list[list[float]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(folders[0])
        with Reranker(name, tokenizer=name) as reranker:
            monkeypatch.chdir(folders[1])
            assert scores(reranker) == pytest.approx(expected[0], abs=1e-5)
            assert (reranker.model, reranker.tokenizer) == (name, name)

    def test_leaves_an_engine_its_tokenizer(
        self,
        folders: tuple[Path, Path],
        expected: list[list[float]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(folders[0])
        with Reranker("./m") as one:
            one.start()
            monkeypatch.chdir(folders[0].parent)
            with Reranker("here/m") as other, Reranker(folders[0] / "m") as third:
                assert scores(other) == pytest.approx(expected[0], abs=1e-5)
                assert len({each._held.lease._engine for each in (one, other, third)}) == 1
                assert other.start().model == "here/m"
                assert third.start().model == str(folders[0] / "m")

    @pytest.mark.parametrize(
        "duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
    )
    def test_changes_no_copy(
        self,
        duplicate: Callable[[Reranker], Reranker],
        folders: tuple[Path, Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(folders[0])
        with Reranker("./m", tokenizer="./m") as original:
            monkeypatch.chdir(folders[1])
            with duplicate(original) as twin:
                assert twin._held.lease._engine is original._held.lease._engine
                assert repr(twin) == repr(original)
                assert twin.model == "./m"

    @pytest.mark.parametrize(
        "duplicate",
        [
            copy.copy,
            copy.deepcopy,
            lambda one: one.model_copy(update={"top_n": 1}),
            lambda one: pickle.loads(pickle.dumps(one)),
        ],
    )
    def test_changes_no_copy_of_a_component(
        self,
        duplicate: Callable[[RerankComponent], RerankComponent],
        folders: tuple[Path, Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(folders[0])
        with RerankComponent(model="./m", tokenizer="m") as original:
            monkeypatch.chdir(folders[1])
            with duplicate(original) as twin:
                assert twin._core._held.lease._engine is original._core._held.lease._engine

    def test_changes_no_ready_engine(
        self, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folders[0])
        engines = TorchEngine("./m", tokenizer="m"), VLLMEngine("./m", tokenizer="m")
        assert {each._model for each in engines} == {str(folders[0] / "m")}
        assert {each._tokenizer for each in engines} == {str(folders[0] / "m")}

    def test_does_not_turn_a_hub_id_into_a_folder(
        self, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Reranker("there/m") as reranker:
            monkeypatch.chdir(folders[0].parent)
            with pytest.raises(InvalidInputError, match=r"was no folder .* model='./there/m'"):
                reranker.start()


class TestFiles:
    def test_behind_a_link_are_those_it_led_to(
        self, models: tuple[Path, Path], expected: list[list[float]], tmp_path: Path
    ) -> None:
        link = tmp_path / "current"
        link.symlink_to(models[0])
        with Reranker(link) as one, Reranker(link) as late:
            assert scores(one) == pytest.approx(expected[0], abs=1e-5)
            link.unlink()
            link.symlink_to(models[1])
            with Reranker(link) as other:
                assert scores(other) == pytest.approx(expected[1], abs=1e-5)
                assert other.start().model == str(link)
            assert scores(late) == pytest.approx(expected[0], abs=1e-5)

    def test_of_other_weights_in_the_same_place_are_another_model(
        self, models: tuple[Path, Path], expected: list[list[float]], tmp_path: Path
    ) -> None:
        folder = shutil.copytree(models[0], tmp_path / "m")
        with Reranker(folder) as one:
            assert scores(one) == pytest.approx(expected[0], abs=1e-5)
            weights = folder / "model.safetensors"
            before = weights.stat()
            shutil.copyfile(models[1] / weights.name, weights)
            assert weights.stat().st_size == before.st_size
            os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
            with Reranker(folder) as other:
                assert scores(other) == pytest.approx(expected[1], abs=1e-5)
            assert scores(one) == pytest.approx(expected[0], abs=1e-5)

    def test_that_are_only_looked_at_are_the_same_model(
        self, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = shutil.copytree(models[0], tmp_path / "m")
        (tmp_path / "link").symlink_to(folder)
        monkeypatch.setenv("HOME", str(tmp_path))
        first = Location.of(str(folder))
        (folder / "config.json").read_bytes()
        (folder / "run.log").write_text("not the model's")
        for name in ("m", "./m", "../x/../" + tmp_path.name + "/m", "~/m", "link", str(folder)):
            monkeypatch.chdir(tmp_path)
            found = Location.of(name)
            assert (found.asked, found.real) == (name, str(folder))
            assert found.state == first.state != ()

    def test_of_a_tokenizer_are_found_in_the_same_way(
        self, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "tokenizer.json"
        shutil.copy(models[0] / "tokenizer.json", file)
        monkeypatch.chdir(tmp_path)
        with Reranker(models[0], tokenizer="tokenizer.json") as one:
            before = one._held.key
            assert one.tokenizer == "tokenizer.json"
            assert one._tokenizer_place.real == str(file)
        file.write_bytes(file.read_bytes())
        with Reranker(models[0], tokenizer="tokenizer.json") as other:
            assert other._held.key != before


def test_a_tokenizer_is_read_again_when_its_file_is_another(
    qwen_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, source in (("here", qwen_file), ("there", tokenizer_file())):
        (tmp_path / folder).mkdir()
        shutil.copy(source, tmp_path / folder / "tokenizer.json")
    file = Path("tokenizer.json")
    monkeypatch.chdir(tmp_path / "here")
    qwen = load_tokenizer(file)
    assert load_tokenizer(file) is qwen
    monkeypatch.chdir(tmp_path / "there")
    lexical = load_tokenizer(file)
    assert lexical.yes != qwen.yes
    shutil.copy(qwen_file, file)
    assert load_tokenizer(file).yes == qwen.yes


@pytest.mark.parametrize("name", ["lexical", "Qwen/Qwen3-Reranker-0.6B"])
def test_names_that_say_the_same_everywhere_stay(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "lexical":
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert Location.of(name) == Location(name, name, name)


@pytest.mark.parametrize("name", ["~nobody-of-that-name/m", "a\0b", "x" * 5000, "./" + "y" * 5000])
def test_names_that_no_folder_can_have_are_no_accident(name: str) -> None:
    assert Location.of(name).asked == name


@pytest.mark.parametrize("engine", ["torch", "vllm"])
def test_one_engine_for_several_devices_names_what_there_is_for_them(engine: Any) -> None:
    devices = {"devices": ["npu:0", "npu:1"]}
    with Reranker("lexical", engine=engine, engine_options=devices) as reranker:
        with pytest.raises(
            InvalidInputError, match=r"serve MODEL --replicas N.*LocalProcesses\(N\)"
        ):
            reranker.start()


def test_what_the_reranker_sets_is_no_engine_option() -> None:
    for name in ("name", "model", "max_length"):
        with Reranker("lexical", engine="vllm", engine_options={name: "x"}) as reranker:
            with pytest.raises(InvalidInputError, match=f"engine_options has {name}"):
                reranker.start()
