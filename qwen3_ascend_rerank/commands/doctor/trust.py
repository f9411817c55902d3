"""Whether a runtime has been seen to compute right scores."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from ...doctor import Diagnosis
from ...engines import EngineSpec
from ...engines.options import public_options
from ...engines.startup import recall
from ...errors import RerankError
from ...trust import Report
from ..selfcheck import prove

DEFAULT_LENGTH = 8192


def remembered(spec: EngineSpec) -> Diagnosis:
    """What the last probe of this runtime, with these settings, came to."""
    check, command = "trust.probe", _command(spec)
    passed = recall(spec)
    if passed is None:
        return Diagnosis(
            check,
            "note",
            "this runtime has not been probed with these settings",
            why="the lexical model, whose answers are known, shows in a minute whether device, "
            "driver and versions compute rightly",
            step=f"`{command}`",
        )
    if passed:
        return Diagnosis(check, "ok", "this runtime passed the probe with the lexical model")
    return Diagnosis(
        check,
        "problem",
        "this runtime failed the probe with the lexical model",
        why="it computes wrong scores, and will be refused",
        step=f"`{command}` shows which, and asks anew",
    )


def proven(spec: EngineSpec) -> Iterator[Diagnosis]:
    """Have it show now what it can, which loads the lexical model and then `spec`'s own."""
    check = "trust.selfcheck"
    try:
        reports = prove(spec)
    except RerankError as error:
        found = f"{spec.model} could not be checked on the {spec.name} engine"
        yield Diagnosis(check, "problem", f"{found}: {error}")
        return
    for name, report in reports.items():
        yield from judged(check, f"{name} on the {spec.name} engine", report)


def judged(check: str, subject: str, report: Report) -> Iterator[Diagnosis]:
    """What a selfcheck found."""
    right = sum(one.passed for one in report.checks)
    found = f"{subject}: {right} of {len(report.checks)} answers right"
    yield Diagnosis(check, "problem" if report.failures else "ok", found)
    for failure in [*report.failures, *report.warnings]:
        yield Diagnosis(
            check,
            "problem" if failure.refuses else "note",
            f"{failure.name}: expected {failure.expected}, found {failure.found}",
            why=f"asked {failure.asked}",
            step=failure.fault,
        )


def _command(spec: EngineSpec) -> str:
    words = ["qwen3-rerank", "selfcheck", "--engine", spec.name]
    if spec.max_length != DEFAULT_LENGTH:
        words += ["--max-length", str(spec.max_length)]
    if options := public_options(spec.options):
        words += ["--engine-options", json.dumps(options)]
    return shlex.join(words)
