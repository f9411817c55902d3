"""What a vLLM release accepts, against what this project knows.

Reads the sources of a vLLM without importing it, so it needs neither torch nor an accelerator:

    python scripts/audit_vllm.py                      the installed vLLM
    python scripts/audit_vllm.py FOLDER               an unpacked wheel or a checkout
    python scripts/audit_vllm.py FOLDER --record      and keep its record for the tests

Prints the names that came and went since the newest older record, the arguments that the probes
choose, and the hazards that apply; exits with 1 if the engine could not be started as planned.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from packaging.version import Version

from qwen3_ascend_rerank.errors import RerankError
from qwen3_ascend_rerank.runtime.detect import Machine, Platform
from qwen3_ascend_rerank.runtime.plan import Deployment, plan
from qwen3_ascend_rerank.runtime.probes import (
    Signatures,
    engine_arguments,
    log_odds_are_exact,
    pooling_parameters,
)

RECORDS = Path(__file__).parents[1] / "tests" / "runtime" / "recorded"
PLATFORMS: tuple[Platform, ...] = ("npu", "cuda", "cpu")


def main(arguments: list[str] | None = None) -> int:
    """Run the audit; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="holds the folder `vllm`")
    parser.add_argument("--record", action="store_true", help="keep the record")
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the records")
    options = parser.parse_args(arguments)

    package = options.folder / "vllm" if options.folder else installed()
    version, signatures = read_version(package), read_signatures(package)
    print(f"vLLM {version}")
    changes(version, signatures, options.records)
    usable = choices(signatures)
    hazards(version)
    if options.record:
        write_record(options.records, version, signatures)
    return 0 if usable else 1


def installed() -> Path:
    """The folder of the installed vLLM."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        sys.exit("vllm is not installed; name the folder of an unpacked one")
    return Path(spec.origin).parent


def read_version(package: Path) -> str:
    """The version that a vLLM's own file states."""
    source = package / "_version.py"
    match = re.search(r"^__version__.*?'(.+?)'", source.read_text(), re.MULTILINE)
    if match is None:
        sys.exit(f"{source} states no version")
    return match[1]


def read_signatures(package: Path) -> Signatures:
    """The names that a vLLM's sources accept."""
    engine_args = find_class(package / "engine" / "arg_utils.py", "EngineArgs")
    async_args = find_class(package / "engine" / "arg_utils.py", "AsyncEngineArgs")
    pooling_params = find_class(package / "pooling_params.py", "PoolingParams")
    async_llm = find_class(package / "v1" / "engine" / "async_llm.py", "AsyncLLM")
    config = next(find_classes(sorted(package.glob("config*/**/*.py")), "PoolerConfig"), None)
    config = config or find_class(package / "config.py", "PoolerConfig")
    return Signatures(
        engine_args=frozenset([*fields(engine_args), *fields(async_args)]),
        pooling_params=frozenset(fields(pooling_params)),
        pooler_config=frozenset(fields(config)),
        encode=tuple(parameters(async_llm, "encode")),
        from_engine_args=tuple(parameters(async_llm, "from_engine_args")),
    )


def find_classes(files: Iterable[Path], name: str) -> Iterator[ast.ClassDef]:
    """Every top-level class called `name` in `files`."""
    for file in files:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                yield node


def find_class(file: Path, name: str) -> ast.ClassDef:
    """The class called `name` in `file`."""
    found = next(find_classes([file], name), None) if file.is_file() else None
    if found is None:
        sys.exit(f"{file} has no class {name}: this vLLM is built otherwise than those known")
    return found


def fields(node: ast.ClassDef) -> Iterator[str]:
    """The annotated names of a class, class variables left out."""
    for item in node.body:
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and "ClassVar" not in ast.unparse(item.annotation)
        ):
            yield item.target.id


def parameters(node: ast.ClassDef, method: str) -> Iterator[str]:
    """The parameter names of a method, without self or cls."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name == method:
            names = [*item.args.posonlyargs, *item.args.args, *item.args.kwonlyargs]
            yield from (argument.arg for argument in names[1:])


def changes(version: str, signatures: Signatures, records: Path) -> None:
    """Print what came and went since the newest older record."""
    known = {Version(file.stem.removeprefix("vllm-")): file for file in records.glob("vllm-*.json")}
    older = [each for each in known if each < Version(version)]
    if not older:
        print("  no older record to compare with")
        return
    before = json.loads(known[max(older)].read_text(encoding="utf-8"))
    print(f"  since {max(older)}:")
    for group, names in signatures.as_lists().items():
        gone, new = sorted({*before[group]} - {*names}), sorted({*names} - {*before[group]})
        if gone or new:
            print(f"    {group}: gone {', '.join(gone) or '-'}; new {', '.join(new) or '-'}")


def choices(signatures: Signatures) -> bool:
    """Print what the probes choose; whether there is a choice for everything."""
    try:
        print(f"  engine arguments: {engine_arguments(signatures, converted=True)}")
        print(f"  pooling parameters: {pooling_parameters(signatures)}")
    except RerankError as error:
        print(f"  NOT USABLE: {error}")
        return False
    print(f"  log-odds: {'exact' if log_odds_are_exact(signatures) else 'from probabilities'}")
    return True


def hazards(version: str) -> None:
    """Print what the table says of this version on each platform."""
    for platform in PLATFORMS:
        machine = Machine(
            platform=platform,
            devices=1,
            vllm=version,
            vllm_ascend=version if platform == "npu" else None,
            vllm_platform=platform,
        )
        made = plan(machine, Deployment(max_length=8192))
        for kind in ("refusals", "adjustments", "warnings"):
            for finding in getattr(made, kind):
                print(f"  {platform}: {kind.removesuffix('s')}: {finding}")


def write_record(records: Path, version: str, signatures: Signatures) -> None:
    """Keep the names for the tests."""
    file = records / f"vllm-{version}.json"
    lines = (
        f"{json.dumps(group)}: {json.dumps(names, separators=(',', ':'))}"
        for group, names in signatures.as_lists().items()
    )
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"  recorded in {file}")


if __name__ == "__main__":
    sys.exit(main())
