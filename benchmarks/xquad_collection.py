"""XQuAD as a collection for `qwen3-rerank evaluate`: a question's own paragraph is relevant.

XQuAD (https://github.com/google-deepmind/xquad, CC BY-SA 4.0) has 1,190 questions on 240
paragraphs, in several languages. Any file in SQuAD's layout will do.

    git clone https://github.com/google-deepmind/xquad
    python benchmarks/xquad_collection.py --data xquad/xquad.en.json --output xquad-en
    qwen3-rerank evaluate xquad-en --model lexical --top-k 5,10,20 --html xquad-en.html
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from qwen3_ascend_rerank.corpora import CorpusDocument, write_corpus, write_qrels, write_queries


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="a file such as xquad.en.json")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    options = parser.parse_args()

    documents: dict[str, CorpusDocument] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for article in json.loads(options.data.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            own = documents.setdefault(
                paragraph["context"], CorpusDocument(f"p{len(documents):03}", paragraph["context"])
            )
            for question in paragraph["qas"]:
                queries[question["id"]] = question["question"]
                qrels[question["id"]] = {own.id: 1}
    write_corpus(options.output / "corpus.jsonl", documents.values())
    write_queries(options.output / "queries.jsonl", queries)
    write_qrels(options.output / "qrels" / "test.tsv", qrels)
    print(f"{len(queries):,} queries, {len(documents):,} documents in {options.output}")


if __name__ == "__main__":
    main()
