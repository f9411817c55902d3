"""What the LangChain and LlamaIndex classes share, and the command line with them.

settings     every setting with its meaning and default
environment  settings from `QWEN3_RERANK_<NAME>`
component    what a component of either framework is made of
silence      how long a server that gives no sign of life is waited for
"""
