"""What the Ray Serve application is told, and what its actors ask Ray for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from ..components.settings import RerankSettings
from ..runtime.devices import Kind, devices_taken, ray_options
from .settings import GatewaySettings

_LIMITS = GatewaySettings()


class RaySettings(RerankSettings):
    """The arguments of the application, by name: those of a `Reranker`, and these.

    What is not given of a Reranker's comes from the environment, as everywhere.
    """

    min_replicas: int = Field(1, ge=1, description="Engines that run in any case.")
    max_replicas: int = Field(1, ge=1, description="Engines that run when there is much to do.")
    target_ongoing_requests: float = Field(
        4.0,
        gt=0,
        description="Requests waiting or under way for each engine, above which another "
        "one is started; a request has up to 64 documents.",
    )
    max_ongoing_requests: int = Field(
        16, ge=1, description="Requests that one engine has at once; the others wait."
    )
    device: Kind = Field(
        "auto",
        description="What an engine is placed by; auto: what is plugged in where the "
        "application is built.",
    )
    devices: int | None = Field(
        None,
        ge=1,
        description="How many of it an engine takes; not given: what `engine_options` "
        "says of parallelism, else 1.",
    )
    cpus: float = Field(1.0, ge=0, description="CPU cores that an engine is given.")
    gateways: int = Field(1, ge=1, description="Actors that answer HTTP; they have no engine.")
    served_model_name: str | None = Field(None, description="What answers call the model.")
    strict_model_name: bool = Field(
        False, description="Whether requests for a model of another name are refused."
    )
    api_key_file: Path | None = Field(
        None,
        description="File with the keys that clients must send, read where the application "
        "is built; not given: VLLM_API_KEY or QWEN3_RERANK_API_KEY of the environment.",
    )
    max_requests: int = Field(_LIMITS.max_requests, ge=1, description="Requests at once.")
    max_documents: int = Field(_LIMITS.max_documents, ge=1, description="Documents of a request.")
    max_body_mib: int = Field(
        _LIMITS.max_body_bytes // 2**20, ge=1, description="MiB of a request."
    )
    request_timeout: float = Field(
        _LIMITS.request_timeout, gt=0, description="Seconds for a request."
    )
    log_requests: bool = Field(True, description="Whether each request is a line in the log.")

    @field_validator("engine_options", mode="before")
    @classmethod
    def _read_options(cls, options: Any) -> Any:
        try:
            return json.loads(options) if isinstance(options, str) else options
        except ValueError:
            raise ValueError("give a JSON object") from None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.base_url is not None:
            raise ValueError(
                "base_url is given, and this application runs the engines itself; to stand before "
                "servers elsewhere, run `qwen3-rerank serve --base-url …`"
            )
        if self.cascade is not None:
            raise ValueError(
                "cascade is given, and this application runs one model; serve each with an "
                "application of its own, and put `qwen3-rerank serve --base-url … --cascade …` "
                "before them"
            )
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas is {self.max_replicas} and min_replicas is {self.min_replicas}; "
                "raise max_replicas"
            )
        return self

    @property
    def limits(self) -> GatewaySettings:
        """Of each gateway."""
        name = self.served_model_name or self.model
        return GatewaySettings(
            names=(name,) if name else (),
            strict_names=self.strict_model_name,
            max_requests=self.max_requests,
            max_documents=self.max_documents,
            max_body_bytes=self.max_body_mib * 2**20,
            request_timeout=self.request_timeout,
        )

    @property
    def actor_options(self) -> dict[str, Any]:
        """What Ray places an engine by, as `ray_actor_options` has it."""
        taken = self.devices or devices_taken(self.engine_options)
        return ray_options(self.device, taken, self.cpus)
