"""A refresher for processes that want their keys fresh although no token comes. Optional; one daemon thread."""

from __future__ import annotations

import threading
from contextvars import Context
from types import TracebackType
from typing import Self

from keyturn._delivery import logger
from keyturn._keeper import Keeper
from keyturn._threads import start
from keyturn.clock import Clock


class KeepFresh:
    """Starts what is due in the background, as a token would; `with` and `async with` both work.

    It follows the same rules as traffic: the schedule, the owed refresh, the backoff (R3, R5, R8).
    """

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        self._keeper = keeper
        self._clock = clock
        self._ended = threading.Event()
        self._running = False

    def __enter__(self) -> Self:
        """Start the refresher; what is due is started at once."""
        # One of its own for each entry: the thread of an earlier one may not have seen its end yet.
        self._ended = threading.Event()
        self._running = True
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """End the refresher; a refresh that is running goes on."""
        self._running = False
        self._ended.set()

    async def __aenter__(self) -> Self:
        """Start the refresher; nothing here waits."""
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """End the refresher."""
        self.__exit__(kind, error, traceback)

    def renew(self) -> None:
        """Start anew in the child of a fork, where no thread of the parent runs."""
        if self._running:
            self._ended = threading.Event()
            self._start()

    def _start(self) -> None:
        ended = self._ended
        try:
            start(lambda: self._run(ended), "keyturn-keep-fresh", Context())
        except RuntimeError:
            logger.warning("no thread can be started here: keep_fresh() does nothing, and tokens keep the keys fresh")

    def _run(self, ended: threading.Event) -> None:
        while not ended.is_set():
            self._clock.wait(ended, self._keeper.look())
