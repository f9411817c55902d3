"""The settings that both integrations, the command line and the environment share.

Every field has the name and the meaning that it has in `Reranker`. What is not given is read from
the environment as ``QWEN3_RERANK_<FIELD>``, e.g. ``QWEN3_RERANK_MODEL``; `engine_options` as JSON.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .prompt import DEFAULT_INSTRUCTION
from .reranker import DEFAULT_MODEL, Reranker

ENVIRONMENT_PREFIX = "QWEN3_RERANK_"


class _Fields(BaseModel):
    model: str = Field(DEFAULT_MODEL, description="Hub id, folder, or `lexical`.")
    engine: str = Field("auto", description="Engine name, or `auto` for the best one there is.")
    tokenizer: str | None = Field(
        None, description="Where tokenizer.json is when it is not beside the model."
    )
    instruction: str = Field(DEFAULT_INSTRUCTION, description="What makes a document relevant.")
    max_length: int = Field(8192, description="Longest prompt, in tokens.")
    top_n: int | None = Field(None, description="How many documents to keep at most; None: all.")
    threshold: float | None = Field(
        None, description="Lowest score in [0, 1] to keep; applied before top_n."
    )
    cache_size: int = Field(0, description="Pairs whose scores are remembered; 0: none.")
    timeout: float | None = Field(
        None, description="Seconds that one call may take, loading included; None: no limit."
    )
    engine_options: dict[str, Any] = Field(
        default_factory=dict, description="What the engine itself takes."
    )


class _Environment(_Fields, BaseSettings):
    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True)


class RerankSettings(_Fields):
    """All that describes a `Reranker`; what is not given comes from the environment."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_environment(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {**_Environment().model_dump(exclude_unset=True), **values}

    def make_reranker(self) -> Reranker:
        """A `Reranker` with these settings; nothing is loaded yet.

        Raises:
            InvalidInputError: a value that cannot be used.
        """
        return Reranker(**{name: getattr(self, name) for name in _Fields.model_fields})
