"""LoRA adapters of the small model, made and computed by PEFT itself."""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from qwen3_ascend_rerank import DEFAULT_INSTRUCTION
from tests.support import official
from tests.support.variants import DOCUMENTS, LENGTH, QUERY, tokenizer_of

ATTENTION = ["q_proj", "v_proj"]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def write_adapter(folder: Path, base: Path, **settings: Any) -> Path:
    """An adapter for the model in `base`, as training leaves it."""
    torch.manual_seed(3)
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ATTENTION, **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tied weights, which is what is looked at
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.normal_(std=0.3)
                elif "modules_to_save" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
        model.save_pretrained(folder)
    return folder


def peft_answers(base: Path, adapter: Path, vocabulary: str = "plain") -> list[float]:
    """The log-odds of PEFT's own forward pass, nothing merged."""
    tokenizer = tokenizer_of(vocabulary)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    pairs = [official.format_pair(DEFAULT_INSTRUCTION, QUERY, text) for text in DOCUMENTS]
    prompts = official.prompt_ids(tokenizer, pairs, LENGTH)
    yes, no = map(tokenizer.convert_tokens_to_ids, ("yes", "no"))
    return official.log_odds(model.eval(), prompts, yes, no)
