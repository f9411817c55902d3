"""vllm-ascend's own code, from its wheels, run without a card.

* `card/`: a stand-in for the card: on the path, ``import torch_npu`` finds it.
* `on_the_card/`: tests of the stand-in's operators, and of the torch engine on it; they run in a
  process of their own, since the device stays in it for good.
* `pairs.py`: folders with a vllm-ascend and the vLLM that it is made for.
* `scenarios.py`: what is tried on a pair, and what must come of it.
* `trial.py`: tries it, in a process where the pair is installed; `commands.py`: our commands there.
* `matrix.py`: all of it on all pairs; `page.py` writes ``docs/ascend-matrix.md``.
"""
