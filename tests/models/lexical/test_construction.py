"""The checkpoint's files: the same everywhere, and complete or not there at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3_ascend_rerank.models.lexical import checkpoint_folder, tokenizer_file
from qwen3_ascend_rerank.models.lexical.store import is_intact
from qwen3_ascend_rerank.models.lexical.vocabulary import DATA_FILE

ROOT = Path(__file__).parents[3]
CONSTRUCT = (
    "from qwen3_ascend_rerank.models.lexical import checkpoint_folder; print(checkpoint_folder())"
)
FILES = {
    "config.json",
    "manifest.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


def start(code: str, cache: Path, **environment: str) -> subprocess.Popen[str]:
    """A Python process on `code`, with a cache of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "QWEN3_RERANK_CACHE": str(cache), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output.strip()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_every_process_constructs_the_same_bytes(tmp_path: Path) -> None:
    processes = [
        start(CONSTRUCT, tmp_path / seed, PYTHONHASHSEED=seed, LC_ALL="C") for seed in ("1", "2")
    ]
    first, second = (Path(finish(process)) for process in processes)
    assert first != second
    assert set(contents(first)) == FILES
    assert contents(first) == contents(second) == contents(checkpoint_folder())


def test_processes_may_construct_it_at_once(tmp_path: Path) -> None:
    processes = [start(CONSTRUCT, tmp_path) for _ in range(4)]
    folders = {finish(process) for process in processes}
    assert {str(path) for path in tmp_path.iterdir()} == folders  # one folder, nothing left over
    assert is_intact(Path(folders.pop()))


def test_a_damaged_folder_is_made_anew(tmp_path: Path) -> None:
    folder = Path(finish(start(CONSTRUCT, tmp_path)))
    sound = contents(folder)

    def flip_a_bit() -> None:
        data = bytearray(sound["model.safetensors"])
        data[len(data) // 2] ^= 1
        (folder / "model.safetensors").write_bytes(data)

    def cut_a_file() -> None:
        (folder / "tokenizer.json").write_bytes(sound["tokenizer.json"][:1000])

    def lose_a_file() -> None:
        (folder / "config.json").unlink()

    def lose_the_manifest() -> None:
        (folder / "manifest.json").unlink()

    for damage in (flip_a_bit, cut_a_file, lose_a_file, lose_the_manifest):
        damage()
        assert not is_intact(folder), damage.__name__
        assert finish(start(CONSTRUCT, tmp_path)) == str(folder)
        assert contents(folder) == sound, damage.__name__


def test_importing_it_loads_no_heavy_package(tmp_path: Path) -> None:
    code = """
import sys, qwen3_ascend_rerank.models.lexical
print({"torch", "transformers", "numpy", "safetensors"} & set(sys.modules))
"""
    assert finish(start(code, tmp_path)) == "set()"


@pytest.mark.parametrize("package", ["numpy", "safetensors"])
def test_a_missing_package_is_named_with_the_next_step(package: str, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
from qwen3_ascend_rerank.models import lexical
print(lexical.tokenizer_file().is_file())
try:
    lexical.checkpoint_folder()
except ImportError as error:
    print(error)
"""
    has_tokenizer, message = finish(start(code, tmp_path)).splitlines()
    assert has_tokenizer == "True"
    assert package in message
    assert 'pip install "qwen3-ascend-rerank[torch]"' in message


def test_the_tokenizer_alone_is_that_of_the_checkpoint() -> None:
    assert tokenizer_file().read_bytes() == (checkpoint_folder() / "tokenizer.json").read_bytes()


def test_the_shipped_vocabulary_is_what_its_script_makes(tmp_path: Path) -> None:
    pytest.importorskip("dashscope")
    output = tmp_path / DATA_FILE
    script = ROOT / "scripts" / "make_lexical_vocabulary.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "5"}
    subprocess.run(
        [sys.executable, script, "--output", output], check=True, env=environment, timeout=120
    )
    shipped = ROOT / "qwen3_ascend_rerank" / "models" / "lexical" / DATA_FILE
    assert output.read_bytes() == shipped.read_bytes()
    assert shipped.stat().st_size < 4_000_000
