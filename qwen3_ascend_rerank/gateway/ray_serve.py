"""The gateway on a Ray cluster: an application of Ray Serve.

    serve run qwen3_ascend_rerank.gateway.ray_serve:app model=lexical max_replicas=4

Two deployments. `Gateway` answers HTTP, as `qwen3-rerank serve` does, and has no engine. `Engine`
is one engine an actor, placed by NPUs, GPUs or CPU cores; Ray starts more of them as requests
queue up, lets those that it ends answer what they have begun, and starts lost ones anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..bridge.loop import submit
from ..bridge.turns import Turns
from ..engines import EngineSpec, choose_engine
from ..engines.startup import begin
from ..errors import (
    DocumentError,
    EngineDeadError,
    EngineError,
    MissingDependencyError,
    RerankError,
    ServerUnavailableError,
)
from ..prompts.request import checked_long_documents
from ..protocol import EngineInfo, PromptBatch
from ..reranker import Reranker
from ..trust import checked_level
from .app import Gateway
from .keys import Keys
from .ray_settings import RaySettings
from .running import written_aside
from .secret import find_keys
from .visits import App

if TYPE_CHECKING:
    from ray.serve import Application

logger = logging.getLogger(__name__)

T = TypeVar("T")

ENGINE, GATEWAY = "Engine", "Gateway"
"""The deployments, by the names under which a config file may set more of each."""
DOCUMENTS = 64
"""Documents that one actor is asked at once; those of a longer request are spread."""
ATTEMPTS = 4
"""How often actors may be lost under the same documents."""
COUNT_SECONDS = 5.0
"""How often the actors are counted."""
_BESIDE = 64
"""Places of a gateway beside those for requests for scores: for who asks how it is."""


def app(arguments: dict[str, Any]) -> Application:
    """Build the application.

    Args:
        arguments: the fields of `RaySettings`; what is not given of a Reranker's settings comes
            from the environment. No key is handed on to the cluster, only its digest.

    Raises:
        MissingDependencyError: Ray Serve is not installed.
        ValueError: an argument that cannot be used.
    """
    try:
        from ray import serve
    except ModuleNotFoundError:
        raise MissingDependencyError(
            'Ray Serve is not installed; pip install "qwen3-ascend-rerank[ray]"'
        ) from None
    settings = RaySettings(**arguments)
    keys = Keys(find_keys(settings.api_key_file).keys)
    limits = settings.limits

    def gateway() -> App:
        return _gateway(settings, keys)

    engine = serve.deployment(
        EngineActor,
        name=ENGINE,
        ray_actor_options=settings.actor_options,
        autoscaling_config={
            "min_replicas": settings.min_replicas,
            "max_replicas": settings.max_replicas,
            "target_ongoing_requests": settings.target_ongoing_requests,
        },
        max_ongoing_requests=settings.max_ongoing_requests,
        graceful_shutdown_timeout_s=limits.drain_seconds,
    )
    entrance = serve.deployment(
        serve.ingress(gateway)(),
        name=GATEWAY,
        num_replicas=settings.gateways,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=limits.max_requests + _BESIDE,
        graceful_shutdown_timeout_s=limits.drain_seconds,
    )
    application: Application = entrance.bind(engine.bind(settings))
    return application


def _gateway(settings: RaySettings, keys: Keys) -> App:
    """The application of one gateway, in its actor."""
    from ray import serve

    application = serve.get_replica_context().app_name
    handle = serve.get_deployment_handle(ENGINE, application)
    reranker = Reranker(
        ActorEngine(handle, settings, application),
        tokenizer=settings.tokenizer,
        instruction=settings.instruction,
        max_length=settings.max_length,
        long_documents=checked_long_documents(settings.long_documents),
        passage_tokens=settings.passage_tokens,
        passage_overlap=settings.passage_overlap,
        passage_limit=settings.passage_limit,
        cache_size=settings.cache_size,
    )
    if settings.log_requests:
        written_aside()
    checked = checked_level(settings.selfcheck)  # by each actor
    gateway = Gateway(reranker, settings.limits, keys, selfcheck=checked)
    return gateway.app


class EngineActor:
    """An engine in an actor of its own, which has proven itself before it is asked."""

    def __init__(self, settings: RaySettings) -> None:
        """Load the model.

        Raises:
            RerankError: it cannot be used here; Ray tries again, and then gives up.
        """
        spec = EngineSpec(
            choose_engine(settings.engine, settings.model),
            settings.model,
            settings.max_length,
            settings.tokenizer,
            settings.engine_options,
            called=settings.model,
        )
        level = checked_level(settings.selfcheck)
        self._engine = submit(begin(spec, level, settings.tokenizer)).result()

    async def info(self) -> EngineInfo:
        """What runs here."""
        return self._engine.info

    async def score(self, batch: PromptBatch) -> list[float]:
        """Log-odds, as `Engine.score` gives them.

        An engine that is dead takes its actor with it, so that Ray starts another one.
        """
        try:
            return await _in_its_loop(self._engine.score(batch))
        except EngineDeadError:
            logger.exception("the engine is dead, and this actor ends")
            os._exit(1)

    async def __del__(self) -> None:
        """Give the device back."""
        if hasattr(self, "_engine"):
            await _in_its_loop(self._engine.aclose())


def _in_its_loop(work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
    """What `work` gives, in the one event loop in which engines live."""
    return asyncio.wrap_future(submit(work))


class ActorEngine:
    """An `Engine` that has actors do the work: Ray says which, and a lost one's work is redone."""

    def __init__(self, handle: Any, settings: RaySettings, application: str) -> None:
        """Nothing is asked yet.

        Args:
            handle: of the deployment of `EngineActor`.
            settings: of the application.
            application: what Ray calls it.
        """
        self._application = application
        self._counting: asyncio.Task[None] | None = None
        self._handle = handle
        self._tokenizer = settings.tokenizer or settings.model
        self._turns = Turns(settings.max_replicas * settings.max_ongoing_requests)
        self._info: EngineInfo | None = None

    @property
    def info(self) -> EngineInfo:
        """What the actors run, and how many there are; the tokenizer is looked for here."""
        if self._info is None:
            raise EngineError("the engines have not started; start this one first")
        return self._info

    async def start(self) -> None:
        """Wait for the first actor.

        Raises:
            ServerUnavailableError: none comes up.
        """
        info: EngineInfo = await self._asked("info")
        self._info = replace(info, tokenizer=self._tokenizer or info.tokenizer)
        self._counting = asyncio.create_task(self._keep_counting())

    async def score(self, batch: PromptBatch) -> list[float]:
        """Log-odds of "yes", shape (len(batch),)."""
        parts = (
            (start, batch.part(start, start + DOCUMENTS))
            for start in range(0, len(batch), DOCUMENTS)
        )
        answers = await self._turns.map(self._part, parts)
        return [value for answer in answers for value in answer]

    async def _part(self, part: tuple[int, PromptBatch]) -> list[float]:
        start, batch = part
        try:
            scores: list[float] = await self._asked("score", batch)
        except DocumentError as error:
            raise error.at(start + error.index) from None
        return scores

    async def _asked(self, method: str, *arguments: Any) -> Any:
        """What an actor answers; another one is asked where it is lost."""
        from ray.exceptions import RayActorError, RayTaskError
        from ray.serve.exceptions import RayServeException

        for attempt in range(ATTEMPTS):
            response = getattr(self._handle, method).remote(*arguments)
            try:
                return await response
            except asyncio.CancelledError:
                response.cancel()
                raise
            except RayTaskError as error:
                if isinstance(error.cause, RerankError):
                    raise error.cause from None
                raise
            except RayActorError as error:
                logger.warning("an engine's actor was lost (%d): %s", attempt + 1, error)
            except RayServeException as error:
                raise ServerUnavailableError(f"Ray has no engine to ask: {error}") from error
        raise ServerUnavailableError(
            f"{ATTEMPTS} actors in turn were lost while they had the same documents; Ray's logs "
            "have the cause, too little memory perhaps"
        )

    async def _keep_counting(self) -> None:
        """Know how many actors there are, for who looks at the gateway."""
        while True:
            try:
                there, up = await asyncio.to_thread(_actors, self._application)
            except Exception as error:  # noqa: BLE001 - whatever Ray says, scores do not depend on it
                logger.info("the actors cannot be counted now: %s", error)
            else:
                self._info = replace(self.info, replicas=there, replicas_up=up)
            await asyncio.sleep(COUNT_SECONDS)

    async def aclose(self) -> None:
        """Stop counting; the actors are Ray's."""
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)


def _actors(application: str) -> tuple[int, int]:
    """How many actors with an engine there are, and how many of them answer."""
    from ray import serve

    states = serve.status().applications[application].deployments[ENGINE].replica_states
    counts = {str(getattr(state, "value", state)): count for state, count in states.items()}
    return sum(counts.values()) - counts.get("STOPPING", 0), counts.get("RUNNING", 0)
