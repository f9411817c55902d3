"""Models that run elsewhere: `vllm serve` on one or many machines, and servers like it.

A query goes from the engine, cut into pieces, to the dispatcher, and from there to a replica:

    engine       ServedEngine
    pace         how much of one call is under way
    dispatch     who is asked, and who is asked next
    replicas     several servers: which are up, and who comes back
    replica      one server
    identity     whether it still is what was found there
    terms        what servers must have in common
    discovery    what a server serves, and how it must be asked for right scores
    models       which model it serves, and the tokenizer of that
    probing      which of the ways to ask leads to right scores
    dialects     the ways to ask: one row each
    manner       how one server is asked: requests and answers as pure functions
    connection   one server over HTTP
    lanes        its connections
    address      URLs and keys, checked
    faults       what can go wrong there, and whether to try again
"""
