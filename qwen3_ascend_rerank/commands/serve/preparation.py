"""From what the user asked for to the servers that will run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import (
    EngineError,
    InvalidInputError,
    MissingDependencyError,
    UnsupportedModelError,
)
from ...models import (
    Checkpoint,
    expected_in_vllm,
    is_local,
    open_checkpoint,
    tokenizer_file,
    vllm_overrides,
)
from ...prompts import DEFAULT_INSTRUCTION, load_tokenizer
from ...runtime.arguments import read
from ...runtime.detect import Machine, detect
from ...runtime.devices import share
from ...runtime.plan import Deployment, Plan, plan
from ...serving import abilities, command, gate
from ...serving.judgement import ServerSetup
from ...serving.template import check_inputs, check_tokenizer, template_file
from ..screen import waiting


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    model: str
    names: Sequence[str]
    """What requests call it."""
    host: str
    port: int
    """The first server's; the others take the next."""
    replicas: int
    max_length: int
    template: bool | None
    """Whether the server makes the prompt of plain texts; None: where this vLLM can."""
    instruction: str | None
    """For requests that bring none; None: the official one."""
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
    setup: ServerSetup
    """What the servers answer, and what they refuse."""
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
    template = _has_template(wish, machine.vllm)
    checkpoint = open_checkpoint(wish.model, weights=is_local(wish.model))
    with waiting(f"asking vLLM {machine.vllm} what it takes"):
        reading = read(wish.passed_on)
    command.check_passed_on(reading)
    told = expected_in_vllm(checkpoint, reading.options.get("hf_overrides"))
    if told:
        checkpoint.check_length(wish.max_length, spare=1, longest=told.longest)
    made = plan(
        machine,
        Deployment(
            wish.max_length,
            reading.options,
            checkpoint.quantization,
            checkpoint.config,
        ),
    )
    made.check()
    setup = _setup(wish, machine.vllm, checkpoint, template=template)
    if template:
        check_inputs(tokenizer_file(checkpoint.folder).parent, machine.transformers)
    file = template_file(setup.instruction) if template else None
    devices = share(machine, wish.replicas, command.devices_of(reading))
    servers = [
        Server(
            command.command(
                reading,
                made,
                model=str(checkpoint.folder),
                names=wish.names,
                converted=checkpoint.converted,
                overrides=vllm_overrides(checkpoint),
                host=wish.host,
                port=port,
                template=file,
                middleware=[gate.MIDDLEWARE],
                passed_on=wish.passed_on,
            ),
            {**made.environment, **own, **gate.variables(setup)},
            port,
        )
        for port, own in zip(wish.ports, devices, strict=True)
    ]
    return Prepared(machine, checkpoint, made, setup, servers)


def check_servable(whole: Checkpoint, prepared: Prepared) -> None:
    """Refuse a checkpoint whose weights are others than the servers would be told.

    Args:
        whole: the checkpoint with its weights.
        prepared: what was made of it, perhaps without them.

    Raises:
        UnsupportedModelError: it has two labels, or does not belong to its tokenizer.
        InvalidInputError: only its weights say how many labels there are.
    """
    whole.check(load_tokenizer(tokenizer_file(whole.folder)))
    if whole.labels and whole.labels.count > 1:
        raise UnsupportedModelError(
            f"{whole.name} has two labels, and a server has no score of two for rerank clients; "
            'use it in process (engine="vllm" or "torch"), or save it with one label, whose row is '
            f"row {whole.labels.positive} minus row {whole.labels.negative} of score.weight"
        )
    if vllm_overrides(whole) != vllm_overrides(prepared.checkpoint):
        raise InvalidInputError(
            f"the config.json of {whole.name} does not say how many labels its head has; name its "
            f"folder, {whole.folder}, instead"
        )


def _has_template(wish: Wish, vllm: str) -> bool:
    """Whether the server will make the prompt of plain texts.

    Raises:
        InvalidInputError: an instruction for a template that is not wanted.
        EngineError: a template is wanted that this vLLM would not apply.
    """
    can = abilities.can(vllm, "template")
    if wish.instruction is not None and wish.template is False:
        raise InvalidInputError(
            "--instruction is for the template, which --no-template leaves out; leave one of them "
            "out: this package's own clients send the instruction with each prompt"
        )
    if not can and (wish.template or wish.instruction is not None):
        ability = abilities.ABILITIES["template"]
        raise EngineError(
            f"vLLM {vllm} does not apply a template to scores ({ability.source}); use "
            f"{ability.since} or newer, or leave --template and --instruction out: this package's "
            "own clients format the prompt themselves"
        )
    return can and wish.template is not False


def _setup(wish: Wish, vllm: str, checkpoint: Checkpoint, *, template: bool) -> ServerSetup:
    file = tokenizer_file(checkpoint.folder)
    tokenizer = load_tokenizer(file)
    instruction = DEFAULT_INSTRUCTION if wish.instruction is None else wish.instruction
    if template:
        check_tokenizer(file, instruction, wish.max_length)
    return ServerSetup(vllm, template, instruction, tokenizer.head, tokenizer.tail)
