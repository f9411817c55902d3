"""Engines: what runs the model. One room an engine, one protocol for all.

spec     which engine it is, and all that it takes to make it
options  `engine_options`: read-only, and their secrets out of sight
startup  made, started, and checked before anyone may use it
shared   one engine for all that ask for the same
held     an engine as one Reranker has it: its share, its tokenizer, its errors
torch/   transformers on an NPU, a GPU or a CPU: the reference
vllm/    vLLM in process, on NPUs through vllm-ascend
served/  models that run elsewhere
"""

from ..protocol import Engine, EngineInfo, PromptBatch
from .spec import ENGINES, EngineSpec, checked_engine, choose_engine

__all__ = [
    "ENGINES",
    "Engine",
    "EngineInfo",
    "EngineSpec",
    "PromptBatch",
    "checked_engine",
    "choose_engine",
]
