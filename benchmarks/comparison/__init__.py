"""What `benchmarks/compare.py` is made of.

contenders   the ways that are compared
worker       one of them in a process of its own
processes    that process, asked and watched
workload     the requests and the model
roofline     how fast it could be at most
report       table and picture
"""
