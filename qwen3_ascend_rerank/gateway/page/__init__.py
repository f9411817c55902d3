"""The page at ``/`` for people: a query, passages, and their ranking.

serving     hands its files out, with a policy that lets in nothing from elsewhere
index.html  what is on it; style.css how it looks; texts.json what it says, in each language
main.js     what it does; reading.js from what was typed to a request, and to its ``curl``
"""

from .serving import FILES, Page, page_path

__all__ = ["FILES", "Page", "page_path"]
