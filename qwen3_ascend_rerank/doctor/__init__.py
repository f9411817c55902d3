"""The doctor: looks at a machine and says what it found, why it matters and what to do about it.

`look()` gathers, `examine()` judges; neither imports torch, torch_npu or vllm, so that they also
work where one of these is broken. How it is printed is no concern of this room.
"""

from .diagnosis import SEVERITIES, Diagnosis, Severity, gravest
from .examination import examine
from .host import Host, look
from .settings import Target

__all__ = ["SEVERITIES", "Diagnosis", "Host", "Severity", "Target", "examine", "gravest", "look"]
