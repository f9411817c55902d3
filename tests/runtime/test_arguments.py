"""Options as the installed vLLM reads them."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from qwen3_ascend_rerank.errors import InvalidInputError, MissingDependencyError
from qwen3_ascend_rerank.runtime.arguments import ENTRIES, read

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")


@needs_vllm
def test_every_way_to_write_an_option_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("max-num-seqs: 7\n")
    reading = read(
        [
            *("--max_model_len", "8K", "-tp", "2", "--dtype=half", "--no-enable-prefix-caching"),
            *("--hf-overrides.head_dtype", "model", "--additional-config", '{"a": 1}'),
            *("--config", str(file), "--enforce"),
            *(
                "--api_key",
                "k",
                "--ssl-keyfile",
                "x",
                "--uvicorn-log-level=info",
                "--chat-templ",
                "f",
            ),
        ]
    )
    assert reading.options == {
        "max_model_len": 8192,
        "tensor_parallel_size": 2,
        "dtype": "half",
        "enable_prefix_caching": False,
        "hf_overrides": {"head_dtype": "model"},
        "additional_config": {"a": 1},
        "max_num_seqs": 7,
        "enforce_eager": True,
    }
    assert reading.server_options == {"api_key", "chat_template"}
    assert {"runner", "max_model_len"} <= reading.signatures.engine_args
    assert reading.entry == ENTRIES[0]


@pytest.mark.full
@needs_vllm
def test_a_value_that_vllm_does_not_take_is_named() -> None:
    with pytest.raises(InvalidInputError, match="does not take this: argument --dtype.*float17"):
        read(["--dtype", "float17"])


def test_a_vllm_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "vllm" / "engine"
    broken.mkdir(parents=True)
    (broken.parent / "__init__.py").touch()
    (broken / "__init__.py").touch()
    (broken / "arg_utils.py").write_text("import libascendcl_is_missing")
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingDependencyError, match="cannot be imported.*libascendcl_is_missing"):
        read([])
