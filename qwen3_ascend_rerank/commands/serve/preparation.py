"""From what the user asked for to the servers that will run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import MissingDependencyError
from ...models import Checkpoint, open_checkpoint
from ...runtime import server
from ...runtime.arguments import read
from ...runtime.detect import Machine, detect
from ...runtime.devices import share
from ...runtime.plan import Plan, Request, plan, read_quantization
from ..screen import waiting


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    model: str
    name: str
    """What requests call it."""
    host: str
    port: int
    """The first server's; the others take the next."""
    replicas: int
    max_length: int
    template: bool
    passed_on: Sequence[str]
    """Options for vLLM itself."""

    @property
    def ports(self) -> range:
        """Of all servers."""
        return range(self.port, self.port + self.replicas)


@dataclass(frozen=True, slots=True)
class Server:
    """One server, ready to be started."""

    command: list[str]
    changes: Mapping[str, str | None]
    """Of the environment; None: to be removed."""
    port: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before anything starts."""

    machine: Machine
    checkpoint: Checkpoint
    plan: Plan
    servers: Sequence[Server]


def prepare(wish: Wish) -> Prepared:
    """Look at this machine, the installed vLLM and the model; no weights are fetched.

    Raises:
        MissingDependencyError: vLLM is not installed, or cannot be imported.
        ModelError: the model is not there, or is none that can be served.
        InvalidInputError: options that contradict each other, or more devices than there are.
        EngineError: scores could not be right here.
    """
    machine = detect()
    if machine.vllm is None:
        raise MissingDependencyError(
            'serving needs vLLM; pip install "qwen3-ascend-rerank[npu]" on an NPU, '
            '"qwen3-ascend-rerank[vllm]" elsewhere'
        )
    if wish.template:
        server.check_template(machine)
    checkpoint = open_checkpoint(wish.model, weights=False)
    with waiting(f"asking vLLM {machine.vllm} what it takes"):
        reading = read(wish.passed_on)
    server.check_passed_on(reading, template=wish.template)
    made = plan(
        machine,
        Request(
            wish.max_length,
            reading.options,
            read_quantization(checkpoint.folder),
            checkpoint.config,
        ),
    )
    made.check()
    devices = share(machine, wish.replicas, server.devices_of(reading))
    servers = [
        Server(
            server.command(
                reading,
                made,
                model=str(checkpoint.folder),
                name=wish.name,
                converted=checkpoint.converted,
                host=wish.host,
                port=port,
                template=wish.template,
                passed_on=wish.passed_on,
            ),
            {**made.environment, **own},
            port,
        )
        for port, own in zip(wish.ports, devices, strict=True)
    ]
    return Prepared(machine, checkpoint, made, servers)
