"""Where models are kept, which of them are there, and whether there is room for the others."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..errors import CorruptModelError, UnsupportedModelError
from ..models.folder import refuse_foreign, weight_files
from .computer import memory
from .diagnosis import Diagnosis
from .host import Host

PARAMETERS = MappingProxyType(
    {
        "Qwen/Qwen3-Reranker-0.6B": 595_776_512,
        "Qwen/Qwen3-Reranker-4B": 4_021_784_576,
        "Qwen/Qwen3-Reranker-8B": 8_188_548_096,
    }
)
"""Parameters of the published models, two bytes each on disk (MTEB's model metadata)."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")

_ROOM = 1.1
"""Disk wanted for a model, as a multiple of its size."""


@dataclass(frozen=True, slots=True)
class Caches:
    """The folders in which the hubs keep what they have fetched."""

    hugging_face: Path
    modelscope: Path
    fetch_from_modelscope: bool

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Caches:
        """Those of a process with this environment, as the hubs' own clients find them."""
        home = Path(environ.get("HOME") or Path.home())
        base = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
        hugging_face = Path(environ.get("HF_HOME") or base / "huggingface") / "hub"
        return cls(
            Path(environ.get("HF_HUB_CACHE") or hugging_face),
            Path(environ.get("MODELSCOPE_CACHE") or home / ".cache/modelscope"),
            environ.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true"),
        )

    @property
    def chosen(self) -> Path:
        """Where a model that is not there yet will be fetched to."""
        return self.modelscope if self.fetch_from_modelscope else self.hugging_face

    def fetch(self, model: str) -> str:
        """The command that fetches `model`."""
        return (
            f"modelscope download --model {model}"
            if self.fetch_from_modelscope
            else (f"hf download {model}")
        )

    def find(self, model: str) -> Path | None:
        """The folder of `model`: a folder, or a hub id that has been fetched."""
        path = Path(model).expanduser()
        if path.is_dir():
            return path
        forms = _modelscope_forms(model) if self.fetch_from_modelscope else _hub_forms(model)
        folders = (folder for form in forms for folder in sorted(self.chosen.glob(form)))
        return next((folder for folder in folders if (folder / "config.json").exists()), None)


def _hub_forms(model: str) -> tuple[str, ...]:
    return (f"models--{model.replace('/', '--')}/snapshots/*",)


def _modelscope_forms(model: str) -> tuple[str, ...]:
    """Newest layout first; until lately a dot in a name became three underscores."""
    safe = model.replace(".", "___")
    return (
        f"models/{model.replace('/', '--')}/snapshots/*",
        *(f"{above}{name}" for name in (safe, model) for above in _MODELSCOPE_ABOVE),
    )


_MODELSCOPE_ABOVE = ("models/", "hub/models/", "hub/", "")


def examine(host: Host, model: str | None) -> Iterator[Diagnosis]:
    """The cache, `model`, which is to be used, and the published models."""
    caches = Caches.of(host.environ)
    free = _free(caches.chosen)
    name = "ModelScope" if caches.fetch_from_modelscope else "Hugging Face"
    yield Diagnosis("models.cache", "ok", f"{caches.chosen} ({name}), {_gb(free)} free")
    for each in dict.fromkeys([*filter(None, [model]), *PARAMETERS]):
        yield _model(caches, each, free, wanted=each == model)
    if model is not None and model in PARAMETERS and host.machine.platform == "cpu":
        yield from _main_memory(host, model)


def _model(caches: Caches, model: str, free: int, *, wanted: bool) -> Diagnosis:
    check, folder = "models.here", caches.find(model)
    if folder is not None:
        return _found(caches, model, folder)
    if not _HUB_ID.fullmatch(model):
        return Diagnosis(
            check,
            "problem",
            f"there is no model folder {model}",
            step="name an existing folder, or a hub id such as `Qwen/Qwen3-Reranker-0.6B`",
        )
    size = PARAMETERS.get(model, 0) * 2
    if size and free < size * _ROOM:
        return Diagnosis(
            check,
            "problem" if wanted else "note",
            f"{model} is not here, and takes {_gb(size)}: {_gb(free)} are free",
            step="make room, or choose another disk with `export HF_HOME=…` (`MODELSCOPE_CACHE` "
            "for ModelScope)",
        )
    found = f"{model} is not here" + (f": {_gb(size)} to fetch" if size else "")
    step = f"it is fetched on first use; `{caches.fetch(model)}` does it now" if wanted else ""
    return Diagnosis(check, "note", found, step=step)


def _found(caches: Caches, model: str, folder: Path) -> Diagnosis:
    try:
        refuse_foreign(model, folder)
        weight_files(model, folder)
    except CorruptModelError as error:
        return Diagnosis(
            "models.here",
            "problem",
            str(error),
            why="its download may have been cut off",
            step=f"`{caches.fetch(model)}` fetches what is missing"
            if _HUB_ID.fullmatch(model)
            else "copy it again",
        )
    except UnsupportedModelError as error:
        return Diagnosis("models.here", "problem", str(error))
    return Diagnosis("models.here", "ok", f"{model} is here: {folder}")


def _main_memory(host: Host, model: str) -> Iterator[Diagnosis]:
    needed = PARAMETERS[model] * 4
    _, available = memory(host)
    if available and available < needed:
        yield Diagnosis(
            "models.memory",
            "problem",
            f"{model} takes {_gb(needed)} in float32, {_gb(available)} are available",
            why="on a CPU it is computed in float32",
            step='use a smaller model, or `--engine-options \'{"dtype": "bfloat16"}\'` for half',
        )


def _free(folder: Path) -> int:
    """Free disk where `folder` is or will be."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(there).free


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
