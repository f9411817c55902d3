"""What a vLLM server is started with, so that every score that it answers with is right.

* `command`: its command line, for the vLLM that is installed.
* `template`: what makes Qwen3-Reranker's prompt of a plain query and a document in the server.
* `gate`: runs in the server, and refuses requests whose score could not be right.
* `abilities`: what which vLLM can do, as data.
"""
