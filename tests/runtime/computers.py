"""Machines laid out in a folder, with the output of real tools."""

from pathlib import Path

from qwen3_ascend_rerank.doctor import Target, examine, look
from qwen3_ascend_rerank.runtime.detect import Answer, detect

RECORDED = Path(__file__).parent / "npu_smi"


def recorded(name):
    """A table of `npu-smi info`, as a driver of that release lays it out."""
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


LAYOUTS = sorted(path.stem for path in RECORDED.glob("*.txt"))


def npus(count):
    return [f"davinci{number}" for number in range(count)]


class Computer:
    """A machine laid out in a folder."""

    def __init__(self, folder):
        self.root = folder / "root"
        self.packages = folder / "site-packages"
        self.home = folder / "home"
        self.prints = {}
        self.answers = {}
        self.ran = []
        for path in (self.root / "dev", self.packages, self.home):
            path.mkdir(parents=True)
        for name in ("davinci_manager", "nvidiactl", "nvidia-uvm", "null"):
            (self.root / "dev" / name).touch()

    def plug(self, *nodes):
        for node in nodes:
            (self.root / "dev" / node).touch()

    def unplug(self):
        for node in (self.root / "dev").iterdir():
            node.unlink()

    def write(self, path, text):
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def install(self, name, version):
        folder = self.packages / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}")

    def install_cann(self, version, home="/usr/local/Ascend/cann"):
        """Lay out a toolkit; returns the environment that its set_env.sh makes."""
        self.write(
            f"{home}/aarch64-linux/ascend_toolkit_install.info",
            f"package_name=Ascend-cann-toolkit\nversion={version}\n"
            "innerversion=V100R001C23SPC002B210\ncompatible_version=[V100R001C15],[V100R001C23]\n"
            "arch=aarch64\nos=linux\n",
        )
        above = home if home.endswith("cann") else home.rpartition("/")[0]
        self.write(f"{above}/set_env.sh", "")
        return {"ASCEND_HOME_PATH": home, "LD_LIBRARY_PATH": f"/opt/lib:{home}/lib64"}

    def run(self, command):
        self.ran.append(command[0])
        return self.prints.get(command[0])

    def ask(self, command):
        if command[0] in self.answers:
            return self.answers[command[0]]
        printed = self.run(command)
        return Answer("missing") if printed is None else Answer("done", printed)

    def detect(self, **environ):
        return detect(root=self.root, environ=environ, run=self.run, packages=[str(self.packages)])

    def look(self, *, python="3.11.9", **environ):
        return look(
            root=self.root,
            environ={"HOME": str(self.home), **environ},
            ask=self.ask,
            packages=[str(self.packages)],
            python=python,
        )

    def examine(self, *, model=None, engine="auto", options=None, python="3.11.9", **environ):
        """What the doctor says of it."""
        host = self.look(python=python, **environ)
        name = host.machine.best_engine if engine == "auto" else engine
        return list(examine(host, model, Target.of(host, model, name, 8192, options or {})))


def ascend(computer, layout="a2-24.1.0", pair="0.18.0", cann="8.5.1", count=8):
    """A server on which everything is as it should be; returns its environment."""
    versions = {
        "0.11.0": ("0.11.0", "2.7.1", "2.7.1.post1", "4.57.1"),
        "0.13.0": ("0.13.0", "2.8.0", "2.8.0.post2", "4.57.6"),
        "0.18.0": ("0.18.0", "2.9.0", "2.9.0.post1", "4.57.6"),
        "0.23.0": ("0.23.0", "2.10.0", "2.10.0.post4", "5.5.4"),
    }
    vllm, torch, torch_npu, transformers = versions[pair]
    computer.plug(*npus(count), "devmm_svm", "hisi_hdc")
    computer.prints["npu-smi"] = recorded(layout)
    computer.install("vllm-ascend", pair)
    computer.install("vllm", f"{vllm}+empty")
    computer.install("torch", f"{torch}+cpu")
    computer.install("torch-npu", torch_npu)
    computer.install("transformers", transformers)
    environ = computer.install_cann(cann)
    return {**environ, "ATB_HOME_PATH": "/usr/local/Ascend/nnal/atb/latest/atb/cxx_abi_0"}
