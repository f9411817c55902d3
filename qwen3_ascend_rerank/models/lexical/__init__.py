"""The embedded model ``lexical``: it matches words, and is no language model.

A real ``Qwen3ForCausalLM`` checkpoint with a small tokenizer of its own, whose weights are
constructed, not trained. It answers the prompt of Qwen3-Reranker with log-odds that measure how
much of the query, rare words counting more, is found in the document; in English and Chinese. It
loads wherever Qwen3-Reranker does, without a network and in a moment. Use it for demonstrations
and tests, and to prove that a runtime computes Qwen3 rightly: its log-odds are known.

    checkpoint   its files, constructed when they are first asked for
    vocabulary   the words, and how much each says; shipped as data
    tokenizer    vocabulary -> tokenizer.json
    weights      vocabulary -> model.safetensors: the construction
    store        the folder in the cache where both are published
"""

from .checkpoint import NAME, checkpoint_folder, tokenizer_file

__all__ = ["NAME", "checkpoint_folder", "tokenizer_file"]
