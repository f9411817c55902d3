"""What `serve` runs: one URL for every client; its only scorer is a `Reranker`.

A request goes down this list, its answer up again:

running    the HTTP server around the application: its sockets, its signals, its end
app        the application: which path leads where
answering  one request for scores, from its bytes to its answer
visits     every request gets an id, a line in the log, and is counted
keys       who may come in; secret finds the keys
bodies     from bytes to JSON, within limits
desk       how many may be inside at once
forms/     from anybody's JSON to one kind of question, and back: a table with a row for each form
scoring    from a question to a `RerankResult`
refusals   from an error to a status and a reason
readiness  whether the engine has proven itself, and does still
status     who asks what is served, and how it is
metrics    what Prometheus reads
tracing    a span of OpenTelemetry for each request, where that is installed
page/      the page at ``/``, for people
ray_serve  the same application on a Ray cluster, each engine an actor; ray_settings: arguments
settings   every limit, with its default
"""

from __future__ import annotations
