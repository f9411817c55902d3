"""What LlamaIndex expects of every postprocessor package."""

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.postprocessor.qwen3_ascend_rerank import Qwen3AscendRerank


def test_class() -> None:
    names_of_base_classes = [one.__name__ for one in Qwen3AscendRerank.__mro__]
    assert BaseNodePostprocessor.__name__ in names_of_base_classes
