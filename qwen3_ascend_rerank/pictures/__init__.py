"""Pictures of results: ranks before and after, scores, and how well scores tell documents apart.

```python
from qwen3_ascend_rerank.pictures import plot_ranks

plot_ranks(result, relevant={7}).savefig("ranks.png")
```

Each is a matplotlib `Figure` that a notebook shows as it is, drawn without pyplot and without
touching matplotlib's settings; the same input gives the same bytes. Colours are those of Okabe and
Ito (https://jfly.uni-koeln.de/color/), and shapes say the same again. The background is the
picture's own, so that it can be read on a dark page too. Needs the extra ``pictures``.

    charts   what is drawn
    sheet    where it is drawn: the figure, its marks and texts
    fonts    which fonts have the characters
"""

from __future__ import annotations

from ..errors import MissingDependencyError

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise MissingDependencyError(
        'pictures are drawn with matplotlib; pip install "qwen3-ascend-rerank[pictures]"'
    ) from error

from .charts import plot_distributions, plot_ranks, plot_reliability, plot_scores
from .sheet import Picture

__all__ = ["Picture", "plot_distributions", "plot_ranks", "plot_reliability", "plot_scores"]
