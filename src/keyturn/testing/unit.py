"""A fake issuer for unittest, and for whoever likes context managers and decorators better than fixtures.

Rules of this file:

1. One name is everything: `with`, a decorator of functions and methods, synchronous or not, and of whole test cases.
2. Each test gets an issuer of its own.
3. A function or method is handed the issuer as `issuer=`; a test case has it as `self.issuer`, from before `setUp()` until after
   the last cleanup.
"""

from __future__ import annotations

import functools
import inspect
import unittest
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from keyturn.testing.issuer import FakeIssuer

ARGUMENT = "issuer"
"""Name of the argument that a decorated function takes the issuer by, and of a test case's attribute."""


T = TypeVar("T", bound=Callable[..., Any])


@overload
def fake_issuer(test: T, /) -> T: ...
@overload
def fake_issuer(*, like: str | None = None, serve: bool = False, tls: bool = False, **settings: Any) -> IssuerContext: ...
def fake_issuer(test: T | None = None, /, *, like: str | None = None, serve: bool = False, tls: bool = False, **settings: Any) -> T | IssuerContext:
    """Return an issuer for the time of a block, of a function, of a method, or of each test of a case.

    `with fake_issuer(algorithm="RS256") as issuer:`, `@fake_issuer(algorithm="RS256")` and `@fake_issuer` are one thing. A function or
    a method is handed its issuer as `issuer=`; a `unittest.TestCase` has it as `self.issuer`, from before `setUp()` on.

    Args:
        test: What `@fake_issuer` without parentheses decorates.
        like: Shape of a well-known issuer, as for `FakeIssuer.like()`.
        serve: Whether it is served meanwhile, as by `issuer.serve()`; `issuer.server` tells where.
        tls: Whether it is served as https.
        **settings: Those of `FakeIssuer`, or of `FakeIssuer.like()`.
    """
    context = IssuerContext(like=like, serve=serve or tls, tls=tls, settings=settings)
    return context if test is None else context(test)


class IssuerContext:
    """What `fake_issuer()` returns: a context manager and a decorator, for any number of tests, of which each gets another issuer."""

    def __init__(self, *, like: str | None, serve: bool, tls: bool, settings: Mapping[str, Any]) -> None:
        self._like, self._serve, self._tls, self._settings = like, serve, tls, dict(settings)
        self._entered: list[ExitStack] = []

    def __enter__(self) -> FakeIssuer:
        issuer = FakeIssuer(**self._settings) if self._like is None else FakeIssuer.like(self._like, **self._settings)
        stack = ExitStack()
        if self._serve:
            stack.enter_context(issuer.serve(tls=self._tls))
        self._entered.append(stack)
        return issuer

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._entered.pop().close()

    def __call__(self, test: T) -> T:
        """Return a function, a method or a test case that runs with an issuer.

        Raises:
            TypeError: It is a class, and no `unittest.TestCase`, or a function with `yield`, which would go on when its issuer is gone.
        """
        if isinstance(test, type):
            return cast("T", _with_issuers(test, self._another))
        if inspect.isgeneratorfunction(test) or inspect.isasyncgenfunction(test):
            raise TypeError(f"{test.__name__} is a function with yield, expected one without; in it use: with fake_issuer() as issuer:")
        run = self._coroutine(test) if inspect.iscoroutinefunction(test) else self._function(test)
        # Runners that look at arguments, as pytest does for fixtures, must not look for one of this name.
        signature = inspect.signature(test)
        run.__signature__ = signature.replace(parameters=[each for name, each in signature.parameters.items() if name != ARGUMENT])  # type: ignore[attr-defined]
        return cast("T", run)

    def _function(self, test: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(test)
        def run(*arguments: Any, **named: Any) -> Any:
            with self._another() as issuer:
                return test(*arguments, **{ARGUMENT: issuer, **named})

        return run

    def _coroutine(self, test: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(test)
        async def run(*arguments: Any, **named: Any) -> Any:
            with self._another() as issuer:
                return await test(*arguments, **{ARGUMENT: issuer, **named})

        return run

    def _another(self) -> IssuerContext:
        """Return the same again: two tests of one decorator may run at the same time."""
        return IssuerContext(like=self._like, serve=self._serve, tls=self._tls, settings=self._settings)


def _with_issuers(case: type, another: Callable[[], IssuerContext]) -> type:
    """Return a test case of which each test has an issuer.

    Raises:
        TypeError: It is no `unittest.TestCase`.
    """
    if not issubclass(case, unittest.TestCase):
        raise TypeError(f"{case.__name__} is no unittest.TestCase, expected one, a function or a method; pytest has the fixture fake_issuer")
    before = case.setUp

    @functools.wraps(before)
    def set_up(test: unittest.TestCase) -> None:
        # A derived case that is decorated itself has entered its own already, and the nearest settings win.
        if ARGUMENT not in vars(test):
            setattr(test, ARGUMENT, test.enterContext(another()))
            test.addCleanup(delattr, test, ARGUMENT)
        before(test)

    setattr(case, "setUp", set_up)  # noqa: B010 - a method of a class that is known when it runs
    return case
