"""Which fonts have the characters: one that comes with matplotlib, and one for Chinese."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

from matplotlib import font_manager

LATIN = "DejaVu Sans"
"""Comes with matplotlib."""
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN",
    "Noto Sans CJK JP", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "PingFang SC", "PingFang HK",
    "Hiragino Sans GB", "Heiti SC", "STHeiti", "Microsoft YaHei", "SimHei", "Arial Unicode MS",
    "Droid Sans Fallback",
)  # fmt: skip
"""Fonts with simplified Chinese, the best first: of Linux, macOS, Windows. Of Noto's collection
matplotlib reads the first face, which is called JP and has the same characters."""
CHINESE_FILES = (
    "notosanscjk-regular", "notosanscjk-bold", "notosanssc-regular", "notosanssc-bold",
    "wqy-microhei", "wqy-zenhei",
)  # fmt: skip
"""How the files of those of Linux begin, in small letters."""
BOLD = 600
"""The least weight that looks bold."""
FIRST_IDEOGRAPH = "\u2e80"
"""From here on a text needs a font for Chinese, emoji and other symbols aside."""


def families(text: str) -> list[str]:
    """The fonts for `text`, to be tried in this order; warns once where Chinese has none."""
    if not any(FIRST_IDEOGRAPH <= character <= "\uffef" for character in text):
        return [LATIN]
    chinese = chinese_family()
    return [LATIN, chinese] if chinese else [LATIN]


def weight(names: list[str], *, bold: bool) -> str:
    """``bold`` where it is wanted and all of the fonts `names` have it, else ``normal``."""
    return "bold" if bold and all(map(_has_bold, names)) else "normal"


@lru_cache(maxsize=16)
def _has_bold(family: str) -> bool:
    faces = (one.weight for one in font_manager.fontManager.ttflist if one.name == family)
    named = font_manager.weight_dict
    return any((named[one] if isinstance(one, str) else one) >= BOLD for one in faces)


@lru_cache(maxsize=1)
def chinese_family() -> str | None:
    """The best installed font with Chinese; None, and a warning, if there is none."""
    family = _listed() or _newly_installed()
    if family is None:
        warnings.warn(
            "no font with Chinese characters was found, so pictures show boxes in their place; "
            "install one, e.g. `apt-get install fonts-noto-cjk`, and start Python again",
            stacklevel=2,
        )
    return family


def _listed() -> str | None:
    known = set(font_manager.fontManager.get_font_names())
    return next((family for family in CHINESE if family in known), None)


def _newly_installed() -> str | None:
    """A font that came after matplotlib had made its list, which it keeps for good."""
    for file in sorted(font_manager.findSystemFonts()):
        if Path(file).name.lower().startswith(CHINESE_FILES):
            font_manager.fontManager.addfont(file)
    return _listed()
