"""Who asks what is served, and how it is: in the words of each kind of server that is taken for."""

from __future__ import annotations

from typing import Any

from .. import __version__
from ..engines.served.discovery import GATEWAY
from ..protocol import EngineInfo
from ..trust import Level
from .settings import GatewaySettings


class Status:
    """What is said of the model and of the gateway."""

    def __init__(self, settings: GatewaySettings, started: int, selfcheck: Level) -> None:
        """Describe it.

        Args:
            settings: what the model is called, and the limits.
            started: seconds since 1970.
            selfcheck: what the engine must have shown before it is ready.
        """
        self._settings = settings
        self._started = started
        self._selfcheck = selfcheck

    def models(self, info: EngineInfo | None) -> dict[str, Any]:
        """OpenAI's and vLLM's list of models."""
        names = self._settings.called(info)
        return {"object": "list", "data": [self.model(name, info) for name in names]}

    def model(self, name: str, info: EngineInfo | None) -> dict[str, Any]:
        """One model, with what Xinference's clients look for."""
        length = info.max_length if info else None
        return {
            "id": name,
            "object": "model",
            "created": self._started,
            "owned_by": GATEWAY,
            "root": info.model if info else None,
            "parent": None,
            "max_model_len": None if length is None else length + 1,
            "model_type": "rerank",
            "model_name": name,
            "model_uid": name,
            "max_tokens": length,
        }

    def info(self, info: EngineInfo | None) -> dict[str, Any]:
        """Text Embeddings Inference's description, by which its clients validate a model."""
        settings = self._settings
        labels = {"id2label": {"0": "yes"}, "label2id": {"yes": 0}}
        return {
            "model_id": settings.called(info)[0],
            "model_sha": None,
            "model_dtype": info.dtype if info else None,
            "model_type": {"reranker": labels},
            "max_input_length": info.max_length if info else None,
            "max_client_batch_size": settings.max_documents,
            "max_concurrent_requests": settings.max_requests,
            "auto_truncate": True,
            "version": __version__,
        }

    def version(self, info: EngineInfo | None) -> dict[str, Any]:
        """What runs here; `server` says that the version is not vLLM's."""
        said = {"version": __version__, "server": GATEWAY, "selfcheck": self._selfcheck}
        if info is None:
            return said
        return said | {
            "model": self._settings.called(info)[0],
            "root": info.model,
            "engine": info.engine,
            "runs_on": info.version,
            "device": info.device,
            "dtype": info.dtype,
            "max_length": info.max_length,
            "replicas": info.replicas,
            "replicas_up": info.replicas_up,
        }
