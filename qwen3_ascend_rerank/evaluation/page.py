"""A report to be opened in a browser: one file that asks for nothing else, in both languages."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from ..corpora.writing import replaced
from ..models.lexical import NAME as LEXICAL
from . import charts
from .statistics import CONFIDENCE

LANGUAGES = ("en", "zh")
SCRIPT = """
const root = document.documentElement;
const speak = (language) => { root.lang = language; };
speak((navigator.language || "en").startsWith("zh") ? "zh" : "en");
for (const button of document.querySelectorAll("button"))
  button.addEventListener("click", () => speak(button.value));
"""


def write_page(file: str | os.PathLike[str], figures: dict[str, Any]) -> None:
    """Write the report.

    Args:
        file: where to; what was there is replaced when all is written.
        figures: what `Evaluation.to_dict` gives; the page has no other numbers.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    with replaced(file) as text:
        text.write(page(figures))


def page(figures: dict[str, Any]) -> str:
    """The report as HTML."""
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    title = escape(f"{figures['collection']['name']}: {_texts()['title']['en']}")
    made = (_head, _table, _comparisons, _charts, _examples, _how)
    parts = [make(figures) for make in made]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>\n{style}</style></head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<script>{SCRIPT}</script>\n</body></html>\n"
    )


def _head(figures: dict[str, Any]) -> str:
    collection, stage = figures["collection"], figures["first_stage"]
    counts = {name: f"{collection[name]:,}" for name in ("queries", "documents", "relevant")}
    notes = [
        _say(
            "ceiling",
            share=f"{stage['relevant_found']:.1%}",
            depth=stage["depth"],
            first_stage=stage["name"],
        )
    ]
    if stage["queries_missing"]:
        notes.append(
            _say("missing", first_stage=stage["name"], missing=f"{stage['queries_missing']:,}")
        )
    if any(model["model"] == LEXICAL for model in figures["models"]):
        notes.append(_say("lexical"))
    answers = "".join(map(_answer_of(figures), _deepest(figures)))
    return (
        f"<header><h1>{_say('title')}</h1>"
        '<div><button value="en">English</button> <button value="zh">中文</button></div></header>'
        f'<p class="quiet">{_say("subtitle", name=collection["name"], **counts)}</p>'
        f"{answers}" + "".join(f"<p>{note}</p>" for note in notes)
    )


def _answer_of(figures: dict[str, Any]) -> Callable[[dict[str, Any]], str]:
    measure = figures["measures"][0]
    before = figures["rankings"][0]["measures"][measure]["mean"]
    confidence = f"{figures['statistics']['confidence']:.0%}"

    def answer(ranking: dict[str, Any]) -> str:
        gain = ranking["measures"][measure]["gain"]
        key = verdict(gain)
        numbers = (
            {}
            if gain["low"] is None
            else {
                "low": f"{gain['low']:+.3f}",
                "high": f"{gain['high']:+.3f}",
                "p": shown_p(gain["p"], sign="= "),
            }
        )
        said = _say(
            key,
            ranking=ranking["name"],
            measure=measure,
            before=f"{before:.3f}",
            after=f"{ranking['measures'][measure]['mean']:.3f}",
            gain=f"{gain['mean']:+.3f}",
            confidence=confidence,
            **numbers,
            **ranking["changed"],
        )
        return f'<p class="answer {key}">{said}</p>'

    return answer


def verdict(gain: dict[str, Any]) -> str:
    """``better`` or ``worse`` where interval and p agree, else ``unsure``; ``single`` of one."""
    if gain["low"] is None:
        return "single"
    if gain["p"] > 1 - CONFIDENCE or gain["low"] <= 0 <= gain["high"]:
        return "unsure"
    return "better" if gain["low"] > 0 else "worse"


def shown_p(p: float | None, sign: str = "") -> str:
    """With three digits."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{sign}{p:.3f}"


def _table(figures: dict[str, Any]) -> str:
    measures, queries = figures["measures"], figures["collection"]["queries"]
    leading = measures[0]
    heads = [
        _say("ranking"),
        *map(escape, measures),
        _say("gain", measure=leading),
        "p",
        *(_say(name) for name in ("changed", "tokens", "seconds", "truncated")),
    ]
    rows = []
    for ranking in figures["rankings"]:
        cells = [escape(ranking["name"])]
        cells += [f"{ranking['measures'][name]['mean']:.3f}" for name in measures]
        cost, gain = ranking["cost"], ranking["measures"][leading]["gain"]
        if cost and gain:
            cells += [
                _shown_gain(gain),
                escape(shown_p(gain["p"])),
                f"{ranking['changed']['helped']:,} / {ranking['changed']['hurt']:,}",
                f"{cost['tokens'] / queries:,.0f}",
                f"{1000 * cost['seconds'] / queries:,.1f}",
                f"{cost['truncated']:,}",
            ]
        else:
            cells += [""] * 6
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return (
        f'<h2>{_say("figures")}</h2><div class="wide"><table class="figures"><thead><tr>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _comparisons(figures: dict[str, Any]) -> str:
    """Rankings against others than the first stage."""
    if not figures["comparisons"]:
        return ""
    leading = figures["measures"][0]
    names = [_say("ranking"), _say("against"), _say("difference", measure=leading), "p"]
    head = "".join(f"<th>{name}</th>" for name in [*names, _say("time")])
    rows = []
    for one in figures["comparisons"]:
        gain, time = one["measures"][leading], one["time"]
        cells = [
            escape(one["ranking"]),
            escape(one["against"]),
            _shown_gain(gain),
            escape(shown_p(gain["p"])),
            "" if time is None else f"{time:.2f}",
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return (
        f'<h2>{_say("comparisons")}</h2><div class="wide"><table class="figures pairs"><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _shown_gain(gain: dict[str, Any]) -> str:
    """With its interval, in the colour of its verdict."""
    way = {"better": "up", "worse": "down"}.get(verdict(gain), "")
    shown = f"{gain['mean']:+.3f}"
    if gain["low"] is not None:
        shown += f" [{gain['low']:+.3f}, {gain['high']:+.3f}]"
    return f'<span class="{way}">{shown}</span>'


def _charts(figures: dict[str, Any]) -> str:
    measure, stage = figures["measures"][0], figures["first_stage"]["name"]
    confidence = f"{figures['statistics']['confidence']:.0%}"
    named = {"measure": measure, "first_stage": stage, "confidence": confidence}
    drawn = [
        (charts.by_k(figures, _say_svg), _say("by_k", **named)),
        (
            charts.by_cost(figures, _say_svg),
            _say("by_seconds" if charts.by_time(figures) else "by_tokens", **named),
        ),
    ]
    alone = [one for one in _deepest(figures) if not one["cascade"]]
    for model, ranking in zip(figures["models"], alone, strict=True):
        place = figures["rankings"].index(ranking)
        caption = _say("gain_by_query", ranking=ranking["name"], measure=measure)
        drawn.append((charts.gain_by_query(figures, place, _say_svg), caption))
        caption = _say("distribution", model=model["name"])
        drawn.append((charts.distribution(model, _say_svg), caption))
    items = "".join(
        f'<li><svg viewBox="0 0 34 10"><polyline class="line s{place % charts.LINES}" '
        f'points="0,5 34,5"/></svg>{escape(name)}</li>'
        for place, name in enumerate(charts.series_names(figures))
    )
    shown = "".join(
        f"<figure><figcaption>{caption}</figcaption>{svg}</figure>" for svg, caption in drawn
    )
    legend = f'<ul class="legend">{items}</ul>'
    return f'<h2>{_say("pictures")}</h2>{legend}<div class="charts">{shown}</div>'


def _examples(figures: dict[str, Any]) -> str:
    parts = []
    for model in figures["examples"]:
        for kind in ("helped", "hurt"):
            parts.append(f"<h2>{_say(kind, ranking=model['ranking'])}</h2>")
            found = "".join(map(_example, model[kind]))
            parts.append(found or f'<p class="quiet">{_say("nobody")}</p>')
    return "".join(parts)


def _example(example: dict[str, Any]) -> str:
    rows = "".join(map(_document, example["documents"]))
    heads = "".join(f"<th>{_say(name)}</th>" for name in ("rank", "score", "document"))
    return (
        f"<details><summary><b>{escape(example['text'])}</b> "
        f'<span class="quiet">{escape(example["id"])} · {example["before"]:.3f} → '
        f"{example['after']:.3f}</span></summary>"
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _document(document: dict[str, Any]) -> str:
    before, after = (document[name] or "–" for name in ("before", "after"))
    score = "–" if document["score"] is None else f"{document['score']:.4f}"
    tag = ""
    if document["grade"] > 0:
        grade = f" {document['grade']}" if document["grade"] > 1 else ""
        tag = f'<span class="tag">{_say("relevant")}{grade}</span>'
    return (
        f"<tr><td>{before} → {after}</td><td>{score}</td>"
        f'<td>{tag}<span class="quiet">{escape(document["id"])}</span> '
        f"{escape(document['text'])}</td></tr>"
    )


def _how(figures: dict[str, Any]) -> str:
    notes = [
        _say("how_measures"),
        _say("how_statistics", resamples=f"{figures['statistics']['resamples']:,}"),
        _say("how_cost"),
    ]
    if any(ranking["weights"] for ranking in figures["rankings"]):
        notes.append(_say("how_fusion"))
    if any(ranking["cascade"] for ranking in figures["rankings"]):
        notes.append(_say("how_cascade"))
    if any(model["metadata_fields"] for model in figures["models"]):
        notes.append(_say("how_fields"))
    names = ("name", "model", "engine", "device", "dtype", "version", "instruction")
    notes += [_say("model", **{name: one[name] for name in names}) for one in figures["models"]]
    items = "".join(f"<li>{note}</li>" for note in notes)
    return f'<h2>{_say("how")}</h2><ul class="quiet">{items}</ul>'


def _deepest(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each model the ranking with the greatest k, without fusion."""
    rankings = [one for one in figures["rankings"][1:] if not one["fusion"]]
    deepest = max(one["k"] for one in rankings)
    return [one for one in rankings if one["k"] == deepest]


def _say(key: str, **values: object) -> str:
    """A text in both languages, of which the page shows one."""
    return "".join(
        f'<span lang="{language}">{_filled(key, language, values)}</span>' for language in LANGUAGES
    )


def _say_svg(key: str, **values: object) -> str:
    return "".join(
        f'<text lang="{language}">{_filled(key, language, values)}</text>' for language in LANGUAGES
    )


def _filled(key: str, language: str, values: dict[str, object]) -> str:
    return escape(_texts()[key][language].format(**values))


@cache
def _texts() -> dict[str, dict[str, str]]:
    file = Path(__file__).with_name("texts.json")
    texts: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    return texts
