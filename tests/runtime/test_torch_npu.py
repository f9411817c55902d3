"""CANN that is not on the path: the real torch_npu does not load, and what needs it says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3_ascend_rerank.runtime import torch_npu
from tests.runtime.computers import Computer

ROOT = Path(__file__).parents[2]
MISSING = "libhccl.so: cannot open shared object file: No such file or directory"
RELEASE = "2.13.0"
"""A release made for the torch of the tests; its version is in tests/constraints.txt."""


class TestTheSentence:
    @pytest.mark.parametrize(
        ("version", "home", "script"),
        [
            ("9.1.0", "/usr/local/Ascend/cann", "/usr/local/Ascend/cann/set_env.sh"),
            (
                "8.3.RC2",
                "/usr/local/Ascend/ascend-toolkit/latest",
                "/usr/local/Ascend/ascend-toolkit/set_env.sh",
            ),
        ],
    )
    def test_names_the_file_to_source(
        self, computer: Computer, version: str, home: str, script: str
    ) -> None:
        computer.install_cann(version, home)
        said = torch_npu.explain(ImportError(MISSING), computer.root, {})
        assert said == (
            f"torch_npu is installed but cannot be loaded ({MISSING}): CANN's libraries are not on "
            f'the path; `source {script}` in this shell before starting, or use device="cpu"'
        )

    def test_says_to_install_cann_where_there_is_none(self, computer: Computer) -> None:
        said = torch_npu.explain(ImportError(MISSING), computer.root, {})
        assert "install CANN, then `source /usr/local/Ascend/cann/set_env.sh`" in said

    def test_says_otherwise_of_another_torch(self, computer: Computer) -> None:
        error = RuntimeError("undefined symbol: _ZN3c104impl")
        said = torch_npu.explain(error, computer.root, {})
        assert "it is not made for this torch, or damaged; install the release that is" in said


# ---- with the real wheel ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the real torch_npu, without CANN."""
    if sys.platform != "linux":
        pytest.skip("torch_npu has wheels for Linux")
    folder = tmp_path_factory.mktemp("torch_npu")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
    done = subprocess.run([*pip, f"torch-npu=={RELEASE}"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the wheel of torch_npu cannot be had: {done.stderr.strip()[-200:]}")
    return folder


def run(real: Path, source: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(real)])
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environ},
        timeout=250,
    )


def test_torch_by_itself_fails(real: Path) -> None:
    """What the rest is about."""
    done = run(real, "import torch")
    assert "Failed to load the backend extension: torch_npu" in done.stderr


ENGINE = """
from qwen3_ascend_rerank import Reranker, MissingDependencyError
for options in ({"device": "cpu"}, {}):
    with Reranker("lexical", engine="torch", engine_options=options) as reranker:
        print(reranker.start().device, round(reranker.rerank("Beijing?", ["Beijing"])[0].log_odds))
try:
    Reranker("lexical", engine="torch", engine_options={"device": "npu"}).start()
except MissingDependencyError as error:
    print(error)
import os
print(os.environ.get("TORCH_DEVICE_BACKEND_AUTOLOAD"))
"""


def test_a_cpu_computes_and_an_npu_is_refused_in_a_sentence(real: Path) -> None:
    done = run(real, ENGINE)
    first, second, said, variable = done.stdout.splitlines()
    assert (first, second) == ("cpu 12", "cpu 12")
    assert said.startswith(f"torch_npu is installed but cannot be loaded ({MISSING})")
    assert "set_env.sh`" in said
    assert variable == "None"  # the process's own environment is as it was
    assert "set_env.sh`" in done.stderr  # a warning, where the device was left open


DOCTOR = """
import sys
from qwen3_ascend_rerank.commands import main
sys.argv = ["qwen3-rerank", "doctor"]
main()
"""


def test_the_doctor_tries_it_in_a_process_of_its_own(real: Path) -> None:
    done = run(real, DOCTOR)
    said = " ".join(done.stdout.split())
    assert f"torch_npu {RELEASE} is installed but cannot be loaded" in said
    assert "next: install CANN, then `source /usr/local/Ascend/cann/set_env.sh`" in said
    assert done.returncode == 1
