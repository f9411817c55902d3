"""The reranking layer for RAG on Ascend NPUs: Qwen3-Reranker with scores that can be trusted."""

from .engines import Engine, EngineInfo, PromptBatch
from .errors import (
    AuthenticationError,
    CorruptModelError,
    DocumentError,
    EngineDeadError,
    EngineError,
    InvalidInputError,
    MissingDependencyError,
    ModelError,
    ModelNotFoundError,
    QueryTooLongError,
    RerankerClosedError,
    RerankError,
    RerankTimeoutError,
    SelfcheckError,
    ServerUnavailableError,
    UnknownNameError,
    UnsupportedModelError,
    UnsupportedServerError,
)
from .prompts import DEFAULT_INSTRUCTION
from .prompts.request import NOT_GIVEN, NotGiven, RerankRequest
from .reranker import DEFAULT_MODEL, CascadeReranker, Reranker
from .results import RankedDocument, RerankOutcome, RerankResult, StageReport, Usage

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_INSTRUCTION",
    "DEFAULT_MODEL",
    "NOT_GIVEN",
    "AuthenticationError",
    "CascadeReranker",
    "CorruptModelError",
    "DocumentError",
    "Engine",
    "EngineDeadError",
    "EngineError",
    "EngineInfo",
    "InvalidInputError",
    "MissingDependencyError",
    "ModelError",
    "ModelNotFoundError",
    "NotGiven",
    "PromptBatch",
    "QueryTooLongError",
    "RankedDocument",
    "RerankError",
    "RerankOutcome",
    "RerankRequest",
    "RerankResult",
    "RerankTimeoutError",
    "Reranker",
    "RerankerClosedError",
    "SelfcheckError",
    "ServerUnavailableError",
    "StageReport",
    "UnknownNameError",
    "UnsupportedModelError",
    "UnsupportedServerError",
    "Usage",
]
