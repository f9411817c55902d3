"""The script that audits a new vLLM against what is known."""

import importlib.util
import json
from pathlib import Path

import pytest

from qwen3_ascend_rerank.runtime.probes import Signatures
from tests.runtime.machines import VERSIONS, recorded

SOURCES = {
    "_version.py": "__version__ = version = '{version}'\n",
    "engine/arg_utils.py": """
from dataclasses import dataclass
from typing import ClassVar

@dataclass
class EngineArgs:
    model: str = ""
    {engine_args}: str = ""
    block_size: int | None = None
    registry: ClassVar[dict] = {{}}

@dataclass
class AsyncEngineArgs(EngineArgs):
    enable_log_requests: bool = False
""",
    "pooling_params.py": "class PoolingParams:\n    task: str\n    use_activation: bool\n",
    "config/pooler.py": "class PoolerConfig:\n    dimensions: int\n",
    "v1/engine/async_llm.py": """
class AsyncLLM:
    @classmethod
    def from_engine_args(cls, engine_args, start_engine_loop=True): ...

    async def encode(self, prompt, pooling_params, request_id, *, priority=0): ...
""",
}


class TestAudit:
    @pytest.fixture
    def audit(self):
        path = Path(__file__).parents[2] / "scripts" / "audit_vllm.py"
        spec = importlib.util.spec_from_file_location("audit_vllm", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def unpack(self, folder, version, engine_args="runner"):
        for name, text in SOURCES.items():
            file = folder / "vllm" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.format(version=version, engine_args=engine_args))
        return str(folder)

    def test_reads_sources_without_importing_them(self, audit, tmp_path):
        folder = Path(self.unpack(tmp_path, "0.40.0"))
        assert audit.read_version(folder / "vllm") == "0.40.0"
        assert audit.read_signatures(folder / "vllm").as_lists() == {
            "engine_args": ["block_size", "enable_log_requests", "model", "runner"],
            "pooling_params": ["task", "use_activation"],
            "pooler_config": ["dimensions"],
            "encode": ["prompt", "pooling_params", "request_id", "priority"],
            "from_engine_args": ["engine_args", "start_engine_loop"],
        }

    def test_tells_what_changed_and_what_is_chosen(self, audit, tmp_path, capsys):
        assert audit.main([self.unpack(tmp_path, "0.40.0")]) == 0
        printed = capsys.readouterr().out
        assert "vLLM 0.40.0" in printed
        assert "since 0.33.0" in printed
        assert "tensor_parallel_size" in printed
        assert "engine arguments: {'runner': 'pooling'}" in printed
        assert "cuda: warning: vLLM 0.40.0: nothing is known" in printed

    def test_fails_where_there_is_no_way_to_pool(self, audit, tmp_path, capsys):
        assert audit.main([self.unpack(tmp_path, "0.40.0", engine_args="kind")]) == 1
        assert "NOT USABLE" in capsys.readouterr().out

    def test_keeps_a_record(self, audit, tmp_path, capsys):
        records = tmp_path / "records"
        records.mkdir()
        folder = self.unpack(tmp_path, "0.40.0")
        audit.main([folder, "--record", "--records", str(records)])
        kept = json.loads((records / "vllm-0.40.0.json").read_text())
        assert Signatures.from_lists(kept) == audit.read_signatures(Path(folder) / "vllm")
        assert "recorded" in capsys.readouterr().out

    def test_says_what_it_cannot_find(self, audit, tmp_path):
        folder = self.unpack(tmp_path, "0.40.0")
        (tmp_path / "vllm" / "pooling_params.py").unlink()
        with pytest.raises(SystemExit, match="no class PoolingParams"):
            audit.main([folder])

    def test_agrees_with_the_installed_vllm(self, audit):
        spec = importlib.util.find_spec("vllm")
        version = audit.read_version(Path(spec.origin).parent) if spec else None
        if version not in VERSIONS:
            pytest.skip("needs one of the recorded versions of vLLM")
        assert audit.read_signatures(Path(spec.origin).parent) == recorded(version)
