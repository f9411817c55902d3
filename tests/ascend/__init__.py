"""vllm-ascend's own code, from its wheels, run without a card.

* `card/`: a stand-in for the card: on the path, ``import torch_npu`` finds it.
* `on_the_card/`: tests of the stand-in's operators, and of the torch engine on it; they run in a
  process of their own, since the device stays in it for good.
* `pairs.py`: folders with a vllm-ascend and the vLLM that it is made for.
* `trials/`: what is tried on a pair, each trial in a process; `matrix.py` runs all on all pairs and
  writes ``docs/ascend-matrix.md``.
"""
