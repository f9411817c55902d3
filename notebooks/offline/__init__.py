"""Stand-ins that need no network: embeddings, BM25, an LLM that quotes, and a handbook to ask.

Each is a real class of its framework, so a real one goes in by changing one line of a notebook.
"""
