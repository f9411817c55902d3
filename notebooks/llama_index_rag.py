# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # RAG with LlamaIndex: what reranking changes
#
# An index, a query engine, and Qwen3-Reranker among its `node_postprocessors`: the same questions
# before and after, and the events that a tracer sees. The handbook in [`corpus/`](corpus) is that of
# a mountain railway that does not exist. Everything runs without a network: `lexical`, the embedded
# model, **matches words and is no language model**, but it goes through the very code that runs
# Qwen3-Reranker on an NPU.
#
# > **中文**：本例用 LlamaIndex 建索引和查询引擎，把重排放进 `node_postprocessors`，对比前后的答案，并查看重排事件。
# > 默认的 `lexical` 只做词语匹配，不是语言模型；把下面的 `MODEL` 换成 `Qwen/Qwen3-Reranker-0.6B` 就是真实模型。

# %%
MODEL = "lexical"  # or "Qwen/Qwen3-Reranker-0.6B", or the folder of a checkpoint

# %% [markdown]
# ## Index
#
# One node for each section. The embedding and the LLM come from [`offline/`](offline): small
# stand-ins, each a real class of LlamaIndex. The lines with the real ones stand beside them.

# %%
from itertools import count

from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.node_parser import MarkdownNodeParser

from offline.handbook import FOLDER, questions
from offline.llama_index import HashEmbedding, QuotingLLM

pages = SimpleDirectoryReader(
    FOLDER, recursive=True, required_exts=[".md"], file_metadata=lambda _: {}
).load_data()
ids = (f"section-{place:02}" for place in count())  # so that equal similarities keep one order
parser = MarkdownNodeParser(id_func=lambda *_: next(ids))
nodes = [node for node in parser.get_nodes_from_documents(pages) if "## " in node.text]
for node in nodes:
    node.text = node.text.removeprefix("## ").replace("\n\n", ": ", 1)
    node.excluded_llm_metadata_keys = ["header_path"]

embedding = HashEmbedding()
# from llama_index.embeddings.huggingface import HuggingFaceEmbedding
# embedding = HuggingFaceEmbedding("Qwen/Qwen3-Embedding-0.6B")

index = VectorStoreIndex(nodes, embed_model=embedding)
print(len(nodes), "nodes; the second one:")
print(nodes[1].get_content("embed"))

# %% [markdown]
# What stands above is also what the reranker reads: the text, and the metadata that are meant for
# embeddings. `metadata_mode` changes that.
#
# ## Two query engines
#
# One takes the three nearest nodes; the other takes twenty and keeps the three that answer best.
#
# > **中文**：一个查询引擎直接取最近的三个节点；另一个取二十个，重排后留下最好的三个。

# %%
from llama_index.core import PromptTemplate
from llama_index.postprocessor.qwen3_ascend_rerank import Qwen3AscendRerank
from qwen3_ascend_rerank import Reranker

llm = QuotingLLM()
# from llama_index.llms.openai_like import OpenAILike
# llm = OpenAILike("Qwen/Qwen3-8B", api_base="http://127.0.0.1:8000/v1", is_chat_model=True)

prompt = PromptTemplate(
    "Answer from the passages alone.\n\nPassages:\n{context_str}\n\nQuestion: {query_str}"
)
reranker = Reranker(MODEL)
without = index.as_query_engine(llm=llm, text_qa_template=prompt, similarity_top_k=3)
with_rerank = index.as_query_engine(
    llm=llm,
    text_qa_template=prompt,
    similarity_top_k=20,
    node_postprocessors=[Qwen3AscendRerank(reranker=reranker, top_n=3)],
)

# %% [markdown]
# ## One question, before and after
#
# > **中文**：问题、重排前的节点和答案、重排后的节点和答案。LLM 用的是只会引用第一段的替身，所以顺序变好，答案就变好。


# %%
def show(response):
    for rank, node in enumerate(response.source_nodes, 1):
        print(f"{rank}  {node.score:.3f}  {node.text[:60]}")
    print("\nAnswer:", response)


question = questions()[8].question
question

# %% tags=["answer-before"]
show(without.query(question))

# %% tags=["answer-after"]
response = with_rerank.query(question)
show(response)

# %% [markdown]
# Lists of other questions share many short words with ours; the passage on night work has the
# answer. The score is now P("yes") in [0, 1], and the retriever's own is kept in the
# metadata, where neither an LLM nor an embedding sees it:

# %%
metadata = response.source_nodes[0].metadata
{name: round(metadata[name], 3) for name in ("retrieval_score", "relevance_score")}

# %% [markdown]
# And in English, asynchronously, as a server would call it:

# %%
english = questions()[4].question
english

# %% tags=["answer-before"]
show(await without.aquery(english))

# %% tags=["answer-after"]
show(await with_rerank.aquery(english))

# %% [markdown]
# Where each node came from, this time scored by its text alone, without metadata; the star marks
# the right one.

# %%
from qwen3_ascend_rerank.pictures import plot_ranks

gold = questions()[4]
texts = [node.text for node in index.as_retriever(similarity_top_k=20).retrieve(english)]
plot_ranks(reranker.rerank(english, texts), relevant=gold.right(texts), top=8)

# %% [markdown]
# ## What a tracer sees
#
# Every rerank sends a start and an end event, also when it fails, so OpenInference, Langfuse and
# others show it without further work.
#
# > **中文**：每次重排都会发出开始和结束事件（出错时也一样），各种追踪工具可以直接看到。

# %%
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent


class Watcher(BaseEventHandler):
    def handle(self, event, **_):
        if isinstance(event, ReRankStartEvent):
            print(f"start: {len(event.nodes)} nodes, top_n {event.top_n}, {event.model_name}")
        if isinstance(event, ReRankEndEvent):
            print(f"end:   {len(event.nodes)} nodes, best {event.nodes[0].score:.3f}")


# %% tags=["events"]
watcher = Watcher()
get_dispatcher().add_event_handler(watcher)
with_rerank.query(question)
get_dispatcher().event_handlers.remove(watcher)

# %% [markdown]
# ## All questions
#
# The rank of the right passage among twenty nodes, before and after. Where the index does not find
# it at all, no reranker can help. The questions were chosen because the first stage has trouble with
# them, so this shows what reranking does, not how good a model is.
#
# > **中文**：正确段落在重排前后的名次。索引没有召回的段落，重排也无能为力。问题是挑选过的，只为说明重排的作用，不代表模型水平。

# %% tags=["all-questions"]
retriever = index.as_retriever(similarity_top_k=20)
print("before  after")
for one in questions():
    texts = [node.text for node in retriever.retrieve(one.question)]
    ranked = reranker.rerank(one.question, texts).texts
    print(f"{one.rank(texts):>6}  {one.rank(ranked):>5}  {one.question}")

# %%
reranker.close()
