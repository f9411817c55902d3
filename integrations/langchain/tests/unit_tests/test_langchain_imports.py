import subprocess
import sys

import langchain_qwen3_ascend_rerank as package
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableSerializable

from qwen3_ascend_rerank.components.settings import RerankSettings


def test_the_public_names_are_these() -> None:
    assert package.__all__ == ["Qwen3AscendRerank", "Qwen3AscendRerankRetriever", "RerankInput"]
    assert all(hasattr(package, name) for name in package.__all__)


def test_the_compressor_is_what_langchain_expects_in_each_place() -> None:
    assert issubclass(package.Qwen3AscendRerank, BaseDocumentCompressor)
    assert issubclass(package.Qwen3AscendRerank, RunnableSerializable)
    assert issubclass(package.Qwen3AscendRerank, RerankSettings)
    assert issubclass(package.Qwen3AscendRerankRetriever, BaseRetriever)


def test_importing_it_loads_no_model_runtime() -> None:
    code = (
        "import sys, langchain_qwen3_ascend_rerank as p; p.Qwen3AscendRerank();"
        "assert not {'torch', 'transformers', 'vllm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
