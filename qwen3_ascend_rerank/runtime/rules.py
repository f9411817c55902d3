"""The form of the tables in `versions.py`: what a row says, and what it can do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from packaging.version import InvalidVersion, Version

from .detect import Machine, Platform

# ---- what a row is read with ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is to be started."""

    max_length: int
    """Longest prompt, in tokens."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Engine arguments that the user gave."""
    quantization: Mapping[str, Any] = field(default_factory=dict)
    """How the checkpoint says it is quantised (`read_quantization`); empty where it is not."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The checkpoint's ``config.json``."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that decides whether a hazard applies."""

    machine: Machine
    request: Deployment
    environ: Mapping[str, str]

    def option(self, name: str) -> Any:
        """What the user asked for; None where vLLM is left to decide."""
        value = self.request.options.get(name)
        return None if value == "auto" else value


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a person should know about this runtime."""

    subject: str
    """What it is about: ``vLLM 0.13.0``, ``vllm-ascend 0.13.0``."""
    why: str
    """What goes wrong."""
    what: str
    """What was done about it, or what to do."""
    source: str
    """Where this is known from."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.why}; {self.what} ({self.source})"


@dataclass(slots=True)
class Draft:
    """A plan in the making."""

    situation: Situation
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str | None] = field(default_factory=dict)
    adjustments: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    refusals: list[Finding] = field(default_factory=list)

    def value(self, name: str) -> Any:
        """What an engine argument will be; None where vLLM is left to decide."""
        return self.settings.get(name, self.situation.option(name))

    def set(self, name: str, value: Any) -> str:
        """Give an engine argument a value; returns the change in words."""
        self.settings[name] = value
        return f"{name}={value!r}"

    def warn(self, hazard: Hazard, what: str) -> None:
        """Tell of `hazard`, and what can be done."""
        self.warnings.append(hazard.finding(self.situation.machine, what))

    def refuse(self, hazard: Hazard, what: str) -> None:
        """Let `hazard` keep the engine from starting, and tell the way out."""
        self.refusals.append(hazard.finding(self.situation.machine, what))


# ---- the row and its effects ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Releases:
    """Releases from `since`, its pre-releases included, up to but not including `until`.

    Pre-releases of `until` count as affected unless it names one itself: a fix in 0.26.0 need not
    be in a development build on the way there, whereas ``until="0.18.0rc1"`` says that already the
    first candidate has it. (PEP 440's ``>=`` and ``<`` err to the other side on both ends.)
    """

    since: str = "0"
    until: str | None = None

    def __contains__(self, version: object) -> bool:
        parsed = parse(version)
        if parsed is None:
            return False
        begins = parsed >= Version(f"{self.since}.dev0")
        return begins and (self.until is None or parsed < Version(self.until))


class Effect(Protocol):
    """What to do about a hazard."""

    def apply(self, draft: Draft, hazard: Hazard) -> str | None:
        """Write it into the plan; returns what it changed, if anything."""


@dataclass(frozen=True, slots=True)
class Force:
    """An engine argument must have this value; the user's wish for another is refused."""

    name: str
    value: Any
    same: tuple[str, ...] = ()
    """Other names of it."""

    def apply(self, draft: Draft, hazard: Hazard) -> str | None:
        """Set it where the user is silent."""
        wish = draft.value(self.name)
        if wish is None:
            return draft.set(self.name, self.value)
        meant = (self.value, *self.same)
        if wish not in meant and str(wish).removeprefix("torch.") not in meant:
            draft.refuse(hazard, f"{self.name}={wish!r} was asked for; leave it out")
        return None


@dataclass(frozen=True, slots=True)
class AtLeast:
    """An engine argument must not be smaller than a number of tokens."""

    name: str
    amount: Callable[[Draft], int]

    def apply(self, draft: Draft, hazard: Hazard) -> str | None:
        """Set it where the user is silent."""
        wish, least = draft.value(self.name), self.amount(draft)
        if wish is None:
            return draft.set(self.name, least)
        if wish < least:
            draft.refuse(hazard, f"{self.name}={wish!r} was asked for; give at least {least}")
        return None


@dataclass(frozen=True, slots=True)
class Prefer:
    """A better default; the user's wish counts."""

    name: str
    value: Any

    def apply(self, draft: Draft, hazard: Hazard) -> str | None:  # noqa: ARG002
        """Set it where the user is silent."""
        return draft.set(self.name, self.value) if draft.value(self.name) is None else None


@dataclass(frozen=True, slots=True)
class SetVariable:
    """A better default of an environment variable; the user's value counts."""

    variable: str
    value: Callable[[Draft], object]

    def apply(self, draft: Draft, hazard: Hazard) -> str | None:  # noqa: ARG002
        """Have it set where the user is silent."""
        if draft.situation.environ.get(self.variable):
            return None
        value = draft.environment[self.variable] = str(self.value(draft))
        return f"{self.variable}={value}"


@dataclass(frozen=True, slots=True)
class Unset:
    """An environment variable must not be set."""

    variable: str

    def apply(self, draft: Draft, hazard: Hazard) -> str | None:  # noqa: ARG002
        """Have it removed."""
        draft.environment[self.variable] = None
        return f"{self.variable} unset"


@dataclass(frozen=True, slots=True)
class Warn:
    """Nothing that could be changed from here."""

    advice: str

    def apply(self, draft: Draft, hazard: Hazard) -> None:
        """Say it."""
        draft.warn(hazard, self.advice)


@dataclass(frozen=True, slots=True)
class Refuse:
    """Scores cannot be right."""

    way_out: str

    def apply(self, draft: Draft, hazard: Hazard) -> None:
        """Say it."""
        draft.refuse(hazard, self.way_out)


def always(_: Situation) -> bool:
    """No further condition."""
    return True


@dataclass(frozen=True, slots=True)
class Hazard:
    """One row: where something goes wrong, what, and what to do about it."""

    fault: str
    """What goes wrong, for a person."""
    effects: tuple[Effect, ...]
    source: str
    vllm: Releases | None = None
    """Affected releases of vLLM; None: the row is not about vLLM's version."""
    vllm_ascend: Releases | None = None
    """Affected releases of vllm-ascend; None: the row is not about vllm-ascend's version.

    Such a row applies on NPUs only: elsewhere vllm-ascend is turned off.
    """
    platforms: frozenset[Platform] = frozenset({"npu", "cuda", "cpu"})
    """Where vLLM runs."""
    when: Callable[[Situation], bool] = always

    def applies(self, situation: Situation) -> bool:
        """Whether this goes wrong here."""
        machine = situation.machine
        return (
            machine.vllm_platform in self.platforms
            and (self.vllm is None or machine.vllm in self.vllm)
            and (self.vllm_ascend is None or machine.vllm_ascend in self.vllm_ascend)
            and self.when(situation)
        )

    def finding(self, machine: Machine, what: str) -> Finding:
        """This row as it shows on `machine`."""
        subject = (
            f"vLLM {machine.vllm}"
            if self.vllm_ascend is None
            else f"vllm-ascend {machine.vllm_ascend}"
        )
        return Finding(subject, self.fault, what, self.source)


@dataclass(frozen=True, slots=True)
class Pairing:
    """What one vllm-ascend release was made for."""

    vllm_ascend: str
    vllm: tuple[str, ...]
    python: str
    cann: str | None
    """None: its versioning policy does not say it yet."""
    torch: str
    torch_npu: str
    transformers: str
    """Which it takes: what its package asks for, and not the next major release of its vLLM's."""


# ---- versions ---------------------------------------------------------------------------------


def parse(version: object) -> Version | None:
    """The version, or None where it is not one."""
    try:
        return Version(str(version))
    except InvalidVersion:
        return None


def same_release(version: str, other: str) -> bool:
    """Whether two are the same release; builds, post-releases and nightlies of it are."""
    one, two = parse(version), parse(other)
    if one is None or two is None:
        return version == other
    return (one.release, one.pre) == (two.release, two.pre)
