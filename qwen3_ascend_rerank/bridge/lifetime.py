"""What can be closed, for ``with`` and ``async with``."""

from __future__ import annotations

from types import TracebackType

from typing_extensions import Self


class Closing:
    """Both kinds of context manager, for a class with `close` and `aclose`."""

    def close(self) -> None:
        """Give everything back."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """`close` for asyncio."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
