"""Time that passes only where somebody waits for it, so that a busy machine changes nothing."""

import asyncio


class Clockwork(asyncio.SelectorEventLoop):
    """A loop whose time goes on when there is nothing else to do."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]
