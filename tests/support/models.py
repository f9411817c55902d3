"""Small random-weight Qwen3 checkpoints, and what they are turned into."""

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForSequenceClassification
from transformers.utils import logging

logging.disable_progress_bar()

YES, NO, VOCABULARY = 9693, 2152, 151669


def write_original(folder: Path, tokenizer: Path, *, tied: bool, **changes: object) -> Path:
    """A causal Qwen3 of two small layers with Qwen's real vocabulary."""
    torch.manual_seed(7)
    config = Qwen3Config(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": 40960,
            "initializer_range": 0.3,
            "tie_word_embeddings": tied,
            **changes,
        }
    )
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    shutil.copy(tokenizer, folder / "tokenizer.json")
    return folder


def write_converted(folder: Path, original: Path) -> Path:
    """The sequence classification form of `original`: one label, W_yes - W_no as its head."""
    causal = AutoModelForCausalLM.from_pretrained(original)
    rows = causal.get_output_embeddings().weight
    model = Qwen3ForSequenceClassification.from_pretrained(original, num_labels=1)
    with torch.no_grad():
        model.score.weight[0] = rows[YES] - rows[NO]
    model.save_pretrained(folder)
    shutil.copy(original / "tokenizer.json", folder / "tokenizer.json")
    return folder
