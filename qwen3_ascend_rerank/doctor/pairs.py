"""Which releases belong together on a machine, and how to get them."""

from __future__ import annotations

import dataclasses

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ..runtime.plan import Deployment, pairing_of, plan
from ..runtime.rules import Pairing, same_release
from ..runtime.versions import PAIRINGS
from .host import Host

POLICY = "vllm-project/vllm-ascend, versioning policy"
CANN_DOWNLOAD = "https://www.hiascend.com/cann/download"
IMAGE = "quay.io/ascend/vllm-ascend"
_IMAGES = {None: "", "A2": "", "A3": "-a3", "310P": "-310p"}
"""How the image for a family of chips ends; what is not known is taken for an A2."""

_USUAL_LENGTH = 8192


def row_of(host: Host) -> Pairing | None:
    """What the installed vllm-ascend was made for, where that is known."""
    return pairing_of(host.machine.vllm_ascend) if host.machine.vllm_ascend else None


def recommended(host: Host) -> Pairing:
    """The pair to install on this NPU: final, newest, and for its CANN and Python if there is one.

    Releases that cannot run Qwen3-Reranker on this chip do not count.
    """
    finals = [row for row in PAIRINGS if not Version(row.vllm_ascend).is_prerelease]
    right = [row for row in finals if _works(row, host)] or finals[-1:]
    fitting = [row for row in right if fits(row, host)] or right[-1:]
    cann = host.machine.cann
    matching = [row for row in fitting if row.cann and cann and same_release(row.cann, cann)]
    return (matching or fitting)[-1]


def _works(row: Pairing, host: Host) -> bool:
    machine = dataclasses.replace(
        host.machine, vllm=row.vllm[-1], vllm_ascend=row.vllm_ascend, vllm_platform="npu"
    )
    return not plan(machine, Deployment(_USUAL_LENGTH), {}).refusals


def fits(row: Pairing, host: Host) -> bool:
    """Whether a release is made for this Python."""
    return SpecifierSet(row.python).contains(host.python, prereleases=True)


def install(row: Pairing, host: Host) -> str:
    """How to get the pair: as an image, or one after the other, since vLLM names another torch."""
    family, cann = host.machine.family, f"beside CANN {row.cann or 'of its image'}"
    if family not in _IMAGES:
        return f"build vllm-ascend {row.vllm_ascend} from source for this chip, {cann}"
    image = f"`docker pull {IMAGE}:v{row.vllm_ascend}{_IMAGES[family]}`"
    if _IMAGES[family]:
        return f"{image}; the packages on PyPI are for A2 alone"
    python = "" if fits(row, host) else f" in a Python {row.python}"
    pip = f"`pip install vllm=={row.vllm[-1]} && pip install vllm-ascend=={row.vllm_ascend}`"
    return f"{image}, or on aarch64 {pip}{python} {cann}"


def install_cann(row: Pairing, host: Host) -> str:
    """How to get the CANN of the pair, or the pair of the CANN that is here."""
    named = f"CANN {row.cann or 'of its image'}, toolkit, kernels (ops) and NNAL"
    step = f"install {named}, from {CANN_DOWNLOAD}"
    other, cann = recommended(host), host.machine.cann
    if not cann or not other.cann or not same_release(other.cann, cann):
        return step
    return f"{step}; or go on with CANN {cann} and {install(other, host)}"


def install_transformers(row: Pairing) -> str:
    """How to get the transformers of the pair."""
    return f'`pip install "transformers{row.transformers}"`'
