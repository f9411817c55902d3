"""Between callers' threads and event loops, and the one loop in the background where engines live.

loop      that loop, and work beside it
calls     a coroutine run there for a caller in any thread
threads   a function run in a thread of its own, which the process need not wait for
turns     a queue in which large calls and small ones take turns
lifetime  what can be closed, for `with` and `async with`
forks     what is made anew in a forked child
"""
