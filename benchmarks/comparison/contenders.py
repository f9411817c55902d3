"""The ways to run Qwen3-Reranker that are compared: each loads a model folder and gives log-odds.

All get the same prompts and precision, and are timed from texts to scores. This file is the one
that imports the rivals; each row of `CONTENDERS` runs in a process of its own (`worker.py`).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError
from urllib.request import urlopen

from qwen3_ascend_rerank import Reranker
from qwen3_ascend_rerank.prompts import DEFAULT_INSTRUCTION
from qwen3_ascend_rerank.protocol import log_odds_of
from tests.support.official import PREFIX, SUFFIX, format_pair, prompt_ids

MAX_LENGTH = 8192
CORE_LIST = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
CORES = len(CORE_LIST) or os.cpu_count() or 1
"""Those that this process may use."""
LOGITS_BYTES = 4 * 2**30
"""The official code keeps the logits of every position; its batch is cut where they exceed this on
a CPU, and elsewhere a third of the memory that is free."""
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
KV_SPACE = {"VLLM_CPU_KVCACHE_SPACE": "4"}
"""GiB, for every vLLM alike: its default is a share of the machine that leaves no room for others.
"""
DEVICE_SHARE = 0.4
"""Of a device's memory, for every vLLM: two, and what has no such setting, are loaded at once."""
START_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What all contenders are given."""

    folder: Path
    """The model's."""
    device: str = "cpu"
    dtype: str = "float32"


class Contender(Protocol):
    """Something that scores."""

    def log_odds(self, query: str, documents: Sequence[str]) -> list[float]:
        """Of each document, in its order."""
        ...

    def tune(self, query: str, documents: Sequence[str]) -> str:
        """Find the best settings for such work, and name them."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class _Plain:
    """A contender with nothing to tune or to end."""

    def tune(self, query: str, documents: Sequence[str]) -> str:  # noqa: ARG002 - as others do
        """Nothing."""
        return ""

    def close(self) -> None:
        """Nothing."""


class _Batched(_Plain):
    """A contender whose batch size is to be chosen."""

    batch_size = 1

    @property
    def used(self) -> int:
        """The batch size that comes of it."""
        return self.batch_size

    def tune(self, query: str, documents: Sequence[str]) -> str:
        """Take the fastest batch size."""
        seconds, used = {}, {}
        for self.batch_size in (size for size in BATCH_SIZES if size < 2 * len(documents)):
            self.log_odds(query, documents[: self.batch_size])  # kernels are chosen by then
            began = time.perf_counter()
            self.log_odds(query, documents)
            seconds[self.batch_size] = time.perf_counter() - began
            used[self.batch_size] = min(self.used, len(documents))
        self.batch_size = min(seconds, key=lambda size: seconds[size])
        return f"batch size {used[self.batch_size]}"


class Official(_Batched):
    """The code of the model card: left-padded, logits of every position.

    On a CPU in one batch, as the card has it; elsewhere at its best batch size.
    """

    def __init__(self, setup: Setup) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(CORES)
        self._device = setup.device
        self._tokenizer = _fast_tokenizer(setup.folder)
        model = AutoModelForCausalLM.from_pretrained(setup.folder, dtype=setup.dtype)
        self._model = model.eval().to(setup.device)
        self._yes, self._no = (self._tokenizer.convert_tokens_to_ids(one) for one in ("yes", "no"))
        self._room, self._fitting = LOGITS_BYTES, sys.maxsize
        if setup.device == "cpu":
            self.batch_size = sys.maxsize
        else:
            free, _ = getattr(torch, setup.device).mem_get_info()
            self._room = int(free) // 3

    @property
    def used(self) -> int:
        """As many as memory allows, at most."""
        return min(self.batch_size, self._fitting)

    def tune(self, query: str, documents: Sequence[str]) -> str:
        """Take the fastest batch size, where one is to be chosen."""
        return "" if self._device == "cpu" else super().tune(query, documents)

    def log_odds(self, query: str, documents: Sequence[str]) -> list[float]:
        """In the way that the class names."""
        pairs = [format_pair(DEFAULT_INSTRUCTION, query, one) for one in documents]
        prompts = prompt_ids(self._tokenizer, pairs, MAX_LENGTH)
        row = max(map(len, prompts)) * self._model.config.vocab_size * self._model.dtype.itemsize
        self._fitting = max(1, self._room // row)
        size = self.used
        batches = (prompts[start : start + size] for start in range(0, len(prompts), size))
        return [value for batch in batches for value in self._score(batch)]

    def _score(self, prompts: list[list[int]]) -> list[float]:
        import torch

        padded = self._tokenizer.pad({"input_ids": prompts}, padding=True, return_tensors="pt")
        with torch.no_grad():
            last = self._model(**padded.to(self._device)).logits[:, -1, :].float()
        both = torch.stack([last[:, self._no], last[:, self._yes]], dim=1)
        no, yes = torch.nn.functional.log_softmax(both, dim=1).T
        return (yes - no).tolist()  # type: ignore[no-any-return]


class SentenceTransformers(_Batched):
    """CrossEncoder at the batch size that is fastest here, with the exact prompt."""

    def __init__(self, setup: Setup) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        torch.set_num_threads(CORES)
        self._folder = tempfile.TemporaryDirectory()
        own = complete_folder(setup.folder, Path(self._folder.name), chat_template())
        self._model = CrossEncoder(
            str(own),
            device=setup.device,
            max_length=MAX_LENGTH,
            local_files_only=True,
            model_kwargs={"dtype": setup.dtype},
        )

    def log_odds(self, query: str, documents: Sequence[str]) -> list[float]:
        """In the way that the class names."""
        import torch

        scores = self._model.predict(
            [(query, one) for one in documents],
            prompt=DEFAULT_INSTRUCTION,
            batch_size=self.batch_size,
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
        )
        return [float(one) for one in scores]

    def close(self) -> None:
        """End what was started."""
        self._folder.cleanup()


class PlainVLLM(_Plain):
    """`LLM.score` as in the tutorial of vLLM Ascend, which leaves the prompt to the caller."""

    def __init__(self, setup: Setup) -> None:
        from vllm import LLM

        options = _vllm_options(setup)
        self._folder = tempfile.TemporaryDirectory()
        self._llm = LLM(
            model=str(complete_folder(setup.folder, Path(self._folder.name))),
            runner="pooling",
            max_model_len=MAX_LENGTH,
            **options,
            hf_overrides={
                "architectures": ["Qwen3ForSequenceClassification"],
                "classifier_from_token": ["no", "yes"],
                "is_original_qwen3_reranker": True,
            },
        )

    def log_odds(self, query: str, documents: Sequence[str]) -> list[float]:
        """In the way that the class names."""
        asked = f"{PREFIX}<Instruct>: {DEFAULT_INSTRUCTION}\n<Query>: {query}\n"
        outputs = self._llm.score(
            [asked] * len(documents),
            [f"<Document>: {one}{SUFFIX}" for one in documents],
            use_tqdm=False,
        )
        scores = [float(one.outputs.score) for one in outputs]
        return [log_odds_of(one) for one in scores]

    def close(self) -> None:
        """End what was started."""
        self._folder.cleanup()


class Ours(_Plain):
    """A Reranker on one of this package's engines."""

    def __init__(self, folder: Path | None, **settings: Any) -> None:
        self._reranker = Reranker(folder, max_length=MAX_LENGTH, **settings)
        self._reranker.start()

    def log_odds(self, query: str, documents: Sequence[str]) -> list[float]:
        """In the way that the class names."""
        result = self._reranker.rerank(query, documents)
        return [one.log_odds for one in sorted(result, key=lambda one: one.index)]

    def close(self) -> None:
        """End what was started."""
        self._reranker.close()


def torch_engine(setup: Setup) -> Contender:
    """TorchEngine."""
    return _torch_engine(setup)


def compiled_torch_engine(setup: Setup) -> Contender:
    """TorchEngine with kernels by torch.compile."""
    return _torch_engine(setup, compile=True)


def _torch_engine(setup: Setup, **more: Any) -> Contender:
    options = {"device": setup.device, "dtype": setup.dtype, **more}
    return Ours(setup.folder, engine="torch", engine_options=options)


def _vllm_options(setup: Setup) -> dict[str, Any]:
    """What every vLLM is given alike; an error where it does not run on the device."""
    from vllm.platforms import current_platform

    if current_platform.device_type != setup.device:
        raise RuntimeError(f"the vLLM that is installed runs on {current_platform.device_type}")
    share = {} if setup.device == "cpu" else {"gpu_memory_utilization": DEVICE_SHARE}
    return {"dtype": setup.dtype, **share}


def _as_arguments(options: Mapping[str, Any]) -> list[str]:
    return [
        word
        for name, value in options.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def vllm_engine(setup: Setup) -> Contender:
    """VLLMEngine."""
    return Ours(setup.folder, engine="vllm", engine_options=_vllm_options(setup))


class Served(Ours):
    """ServedEngine, and the server that `qwen3-rerank serve --bare` becomes."""

    def __init__(self, setup: Setup) -> None:
        options = _vllm_options(setup)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        program = Path(sys.executable).with_name("qwen3-rerank")
        self._server = subprocess.Popen(  # noqa: S603 - this package's own
            [
                *(program, "serve", setup.folder, "--bare", "--port", str(port)),
                *("--", *_as_arguments(options)),
            ]
        )
        try:
            self._wait(f"http://127.0.0.1:{port}/health")
            super().__init__(None, base_url=f"http://127.0.0.1:{port}", tokenizer=setup.folder)
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """End what was started."""
        super().close()
        self._end()

    def _wait(self, address: str) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._server.poll() is None:
            if _answers(address):
                return
            time.sleep(0.5)
        raise RuntimeError("the server did not start")

    def _end(self) -> None:
        self._server.send_signal(signal.SIGTERM)
        self._server.wait(60)


@dataclass(frozen=True, slots=True)
class Row:
    """A contender as the table shows it."""

    label: str
    make: Any
    """Called with a `Setup`; gives a `Contender`."""
    own: bool = False
    """Whether it is part of this package."""
    environment: Mapping[str, str] = field(default_factory=dict)
    elsewhere: bool = False
    """Whether the model is in a process of its own, whose memory of a device cannot be seen."""


BOTH_CORES = {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, CORE_LIST))} if CORE_LIST else {}
CONTENDERS = {
    "official": Row("official transformers code", Official),
    "sentence-transformers": Row("sentence-transformers CrossEncoder", SentenceTransformers),
    "vllm": Row(
        "vLLM LLM.score, its default threads", PlainVLLM, environment=KV_SPACE, elsewhere=True
    ),
    "vllm-all-cores": Row(
        "vLLM LLM.score, all cores",
        PlainVLLM,
        environment={**KV_SPACE, **BOTH_CORES},
        elsewhere=True,
    ),
    "torch-engine": Row("TorchEngine", torch_engine, own=True),
    "torch-compiled": Row("TorchEngine, compile=True", compiled_torch_engine, own=True),
    "vllm-engine": Row("VLLMEngine", vllm_engine, own=True, environment=KV_SPACE, elsewhere=True),
    "served-engine": Row("ServedEngine", Served, own=True, environment=KV_SPACE, elsewhere=True),
}
"""Name on the command line → contender, in the order of the table."""


def complete_folder(model: Path, folder: Path, template: str | None = None) -> Path:
    """`model` by links in `folder`, with the tokenizer's configuration that rivals ask for."""
    for file in model.iterdir():
        if file.name not in ("tokenizer_config.json", "chat_template.jinja"):
            (folder / file.name).symlink_to(file.absolute())
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "model_max_length": 131072,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration), encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def chat_template() -> str:
    """The exact prompt as a chat template: sentence-transformers makes messages of a pair."""
    roles = ("system", "query", "document")
    parts = (PREFIX + "<Instruct>: ", "\n<Query>: ", "\n<Document>: ")
    found = "".join(
        f"{{%- set {role} = messages | selectattr('role', 'equalto', '{role}') "
        f"| map(attribute='content') | first | default('', true) -%}}\n"
        for role in roles
    )
    pieces = (f"{json.dumps(part)} + {role}" for part, role in zip(parts, roles, strict=True))
    return f"{found}{{{{- {' + '.join(pieces)} + {json.dumps(SUFFIX)} -}}}}"


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5):  # noqa: S310 - the loopback
            return True
    except (URLError, OSError):
        return False


def _fast_tokenizer(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        padding_side="left",
        pad_token="<|endoftext|>",  # noqa: S106 - a token of the tokenizer
    )
