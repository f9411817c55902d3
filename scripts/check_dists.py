"""Install built wheels, and nothing else of this repository, and run the quick starts with them.

    python scripts/check_dists.py dist              # with the newest releases of what they need
    python scripts/check_dists.py dist --oldest     # with the oldest that they admit

Each READMEs' first block of Python runs in an empty folder; a block that fails ends with its error.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "integrations/langchain/README.md", "integrations/llama-index/README.md")
PACKAGES = (
    "qwen3-ascend-rerank[cli,torch]",
    "langchain-qwen3-ascend-rerank",
    "llama-index-postprocessor-qwen3-ascend-rerank",
)
TORCH = "torch==2.13.0"
OLDEST = (
    "transformers==4.51.3",
    "tokenizers==0.21.4",
    "huggingface-hub==0.36.2",
    "langchain-core==1.0.0",
    "llama-index-core==0.13.0",
    "llama-index-workflows==1.3.0",
)
"""Pins that make pip take the oldest that the packages admit."""


def quick_start(readme: Path) -> str:
    """The first block of Python on a page."""
    found = re.search(
        r"^```python\n(.*?)^```", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    if found is None:
        raise SystemExit(f"error: {readme} has no block of Python")
    return found[1]


def check(dist: Path, pins: tuple[str, ...]) -> None:
    """Make an environment, install, run.

    Raises:
        SystemExit: a wheel is missing.
        subprocess.CalledProcessError: an installation or a quick start failed.
    """
    wheels = list(dist.glob("*.whl"))
    if len(wheels) != len(PACKAGES):
        raise SystemExit(f"error: {dist} holds {len(wheels)} wheels; run `make dist` first")
    with tempfile.TemporaryDirectory() as place:
        python = Path(place) / "bin" / "python"
        venv.create(place, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, TORCH], check=True)
        subprocess.run([*install, "--find-links", str(dist), *PACKAGES, *pins], check=True)
        for readme in READMES:
            empty = Path(place) / readme.replace("/", "-")
            empty.mkdir()
            code = quick_start(ROOT / readme)
            done = subprocess.run(
                [python, "-c", code], cwd=empty, capture_output=True, text=True, check=False
            )
            print(f"{readme}: {'ok' if done.returncode == 0 else 'failed'}\n{done.stdout}", end="")
            if done.returncode:
                sys.exit(done.stderr)
        subprocess.run([python, "-m", "pip", "check"], check=True)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dist", type=Path, help="the folder of the wheels")
    parser.add_argument(
        "--oldest", action="store_true", help="the oldest releases that are admitted"
    )
    wish = parser.parse_args()
    check(wish.dist.resolve(), OLDEST if wish.oldest else ())


if __name__ == "__main__":
    main()
