"""Real gateways on the loopback: the application as `serve` runs it, in a thread."""

import asyncio
import json
import threading
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr
from typing_extensions import Self

from qwen3_ascend_rerank import PromptBatch
from qwen3_ascend_rerank.gateway.app import Gateway
from qwen3_ascend_rerank.gateway.keys import Keys
from qwen3_ascend_rerank.gateway.settings import GatewaySettings
from qwen3_ascend_rerank.reranker import Ranker
from qwen3_ascend_rerank.testing import FakeEngine

from .processes import wait_until
from .servers import free_port

KEY = "sesame-gateway-9d"


class RunningGateway:
    """A gateway with one key, or with none."""

    def __init__(self, reranker: Ranker, *, key: str = KEY, **settings: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings.setdefault("names", ("lexical",))
        keys = Keys({"tester": SecretStr(key)} if key else {})
        self.gateway = Gateway(reranker, GatewaySettings(**settings), keys)
        config = uvicorn.Config(
            self.gateway.app,
            port=self.port,
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=120,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def listen(self) -> Self:
        """Answer, whether the engine is ready or not."""
        self._thread.start()
        assert wait_until(lambda: self._server.started, 30)
        return self

    def __enter__(self) -> Self:
        self.listen()
        assert wait_until(lambda: self.gateway.readiness.ready, 60), self.gateway.readiness.failure
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(30)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """As JSON in ASCII, which can say anything."""
        headers = {"content-type": "application/json", **headers}
        return self.client.post(path, content=json.dumps(body), headers=headers)


class HeldEngine(FakeEngine):
    """Answers when it is let, and knows what was withdrawn from it."""

    def __init__(self) -> None:
        super().__init__(lambda _, document: float(len(document)))
        self.let = threading.Event()
        self.asked = 0
        self.withdrawn = 0

    async def score(self, batch: PromptBatch) -> list[float]:
        self.asked += 1
        try:
            while not self.let.is_set():  # noqa: ASYNC110 - another thread lets it
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.withdrawn += 1
            raise
        return await super().score(batch)
