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
# # RAG with LangChain: what reranking changes
#
# We ask a staff handbook questions, first with retrieval alone, then with Qwen3-Reranker behind it.
# The handbook, in [`corpus/`](corpus), is that of a mountain railway that does not exist, so no
# model can know the answers by heart. Everything runs on a laptop without a network: `lexical`, the
# embedded model, **matches words and is no language model**, but it is loaded, asked and trusted
# through the very code that runs Qwen3-Reranker on an NPU.
#
# > **中文**：本例用 LangChain 搭一条完整的 RAG 链路，对比重排前后检索到的段落和最终答案。语料是一家虚构山地铁路的员工手册（中英双语）。
# > 默认的 `lexical` 是内置的小模型，只做词语匹配，不是语言模型，无需联网；把下面的 `MODEL` 换成 `Qwen/Qwen3-Reranker-0.6B` 就是真实模型。

# %%
MODEL = "lexical"  # or "Qwen/Qwen3-Reranker-0.6B", or the folder of a checkpoint

# %% [markdown]
# ## Load and split
#
# One passage for each section of the handbook. The loader, the embeddings and the LLM come from
# [`offline/`](offline): small stand-ins, each a real class of LangChain. The lines with the real
# ones stand beside them.

# %%
from langchain_text_splitters import MarkdownHeaderTextSplitter

from offline.handbook import FOLDER, questions
from offline.langchain import Bm25Retriever, HashEmbeddings, MarkdownLoader, QuotingChatModel

splitter = MarkdownHeaderTextSplitter([("#", "chapter"), ("##", "section")])
passages = []
for page in MarkdownLoader(FOLDER).lazy_load():
    for passage in splitter.split_text(page.page_content):
        passage.metadata |= page.metadata
        passage.page_content = f"{passage.metadata['section']}: {passage.page_content}"
        passages.append(passage)

print(len(passages), "passages; the second one:")
print(passages[1].page_content)
print(passages[1].metadata)

# %% [markdown]
# ## The first stage: vectors and BM25
#
# Both look at every passage quickly, and neither reads it together with the question. We merge
# their rankings of the best twenty: the right passage has to be among these candidates, but need not
# be on top.
#
# > **中文**：第一阶段用向量检索和 BM25 混合召回候选段落。它们很快，但不会把问题和段落放在一起读。

# %%
from langchain_classic.retrievers import EnsembleRetriever
from langchain_core.vectorstores import InMemoryVectorStore

CANDIDATES = 20

embeddings = HashEmbeddings()
# from langchain_huggingface import HuggingFaceEmbeddings
# embeddings = HuggingFaceEmbeddings(model_name="Qwen/Qwen3-Embedding-0.6B")

store = InMemoryVectorStore.from_documents(passages, embeddings)
first_stage = EnsembleRetriever(
    retrievers=[
        store.as_retriever(search_kwargs={"k": CANDIDATES}),
        Bm25Retriever.from_documents(passages, k=CANDIDATES),
    ]
)

# %% [markdown]
# ## The second stage: reranking
#
# `Qwen3AscendRerank` is a document compressor, so it goes into a `ContextualCompressionRetriever`.
# It scores every candidate together with the question and keeps the best three.
#
# > **中文**：`Qwen3AscendRerank` 是 LangChain 的文档压缩器，放进 `ContextualCompressionRetriever` 即可。

# %%
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_qwen3_ascend_rerank import Qwen3AscendRerank
from qwen3_ascend_rerank import Reranker

reranker = Reranker(MODEL)
with_rerank = ContextualCompressionRetriever(
    base_retriever=first_stage,
    base_compressor=Qwen3AscendRerank(reranker=reranker, top_n=3),
)

# %% [markdown]
# ## One question, before and after


# %%
def show(documents):
    for rank, document in enumerate(documents, 1):
        score = document.metadata.get("relevance_score")
        shown = "" if score is None else f"{score:.3f}"
        print(f"{rank}  {shown:5}  {document.page_content[:88]}")


question = questions()[0].question
question

# %% tags=["passages-before"]
before = first_stage.invoke(question)
show(before[:3])

# %% tags=["passages-after"]
after = with_rerank.invoke(question)
show(after)

# %% [markdown]
# The first stage puts up what *sounds* like the question: long lists of questions, full of "who do
# I" and "when do I", that answer something else. The reranker puts the one short passage with the
# answer first. From where, a picture shows; the star marks the right passage.
#
# > **中文**：第一阶段把“听起来像”的常见问答排在前面；重排之后，真正给出答案的短段落到了第一位。图中星号是正确的段落。

# %%
from qwen3_ascend_rerank.pictures import plot_distributions, plot_ranks, plot_scores

gold = questions()[0]
texts = [document.page_content for document in before]
result = reranker.rerank(question, texts)
plot_ranks(result, relevant=gold.right(texts), top=8)

# %%
plot_scores(result, threshold=0.5, relevant=gold.right(texts), top=8)

# %% [markdown]
# ## The answer, before and after
#
# An LCEL chain: passages into a prompt, the prompt to an LLM. Ours quotes the first passage that it
# is given, so a better order is a better answer. A real LLM reads them all, and still does better
# with three right ones than with twenty mixed ones.

# %%
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

llm = QuotingChatModel()
# from langchain_openai import ChatOpenAI
# llm = ChatOpenAI(model="Qwen/Qwen3-8B", base_url="http://127.0.0.1:8000/v1")

prompt = ChatPromptTemplate.from_template(
    "Answer from the passages alone.\n\nPassages:\n{passages}\n\nQuestion: {question}"
)


def joined(documents):
    return "\n\n".join(document.page_content for document in documents[:3])


def chain(retriever):
    inputs = {"passages": retriever | joined, "question": RunnablePassthrough()}
    return inputs | prompt | llm | StrOutputParser()


# %% tags=["answer-before"]
print(chain(first_stage).invoke(question))

# %% tags=["answer-after"]
print(chain(with_rerank).invoke(question))

# %% [markdown]
# In Chinese / 中文问题：

# %%
chinese = questions()[11].question
chinese

# %% tags=["answer-before"]
print(chain(first_stage).invoke(chinese))

# %% tags=["answer-after"]
print(chain(with_rerank).invoke(chinese))

# %% [markdown]
# ## All questions
#
# The rank of the right passage among the candidates, before and after. The questions were chosen
# because the first stage has trouble with them: people ask in whole sentences, and those share more
# words with other questions than with the answer. So this shows what reranking does, not how good a
# model is. `lexical`, too, misses some: it knows that "doctor" says more than "when", but not that
# days "not taken" are "unused" days. A language model does.
#
# > **中文**：下表是正确段落在重排前后的名次。问题是挑选过的，专挑第一阶段排不好的，用来说明重排的作用，并不代表模型的水平。
# > `lexical` 也有答不对的：它只认词，不懂意思。

# %% tags=["all-questions"]
results, relevant = [], []
print("before  after")
for one in questions():
    texts = [document.page_content for document in first_stage.invoke(one.question)]
    results.append(reranker.rerank(one.question, texts))
    relevant.append(one.right(texts))
    print(f"{one.rank(texts):>6}  {one.rank(results[-1].texts):>5}  {one.question}")

# %% [markdown]
# How do the scores of right passages and of the others lie? A threshold is chosen from such a
# picture, on questions of your own: `Qwen3AscendRerank(threshold=…)` then leaves out what scores
# lower, and a question without an answer gets no passages instead of wrong ones.

# %%
plot_distributions(results, relevant, threshold=0.5)

# %% [markdown]
# ## From here
#
# * **Options of one call.** `Qwen3AscendRerankRetriever` takes them with `invoke`:
#   `k`, `threshold`, `instruction`, `timeout`.
# * **Asynchronous.** `await with_rerank.ainvoke(question)` never blocks the event loop, and
#   everything that waits at the same time is scored in common batches.
# * **Servers.** With a `base_url` the compressor asks vLLM servers and loads nothing here: see
#   [serving_on_ascend](serving_on_ascend.ipynb).
#
# A `Reranker` lends a loaded model out. Give it back when you are done:

# %%
reranker.close()
