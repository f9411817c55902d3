"""vLLM in process, on NPUs through vllm-ascend, on GPUs, on CPUs.

* `engine.py`: the engine itself, start, score and close.
* `library.py`: what it takes from the installed vLLM.
* `launch.py`: the environment in which vLLM starts, and the guard that a script needs.
* `processes.py`: the processes that vLLM starts, and their end; `watchdog.py` outlives this one.
"""

from .engine import VLLMEngine

__all__ = ["VLLMEngine"]
