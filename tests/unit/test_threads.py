"""Threads that no caller waits for, and calls that may hang (driver, traps 1, 2, 18, 20, 21, 23)."""

from __future__ import annotations

import _thread
import contextvars
import gc
import threading
import weakref
from contextvars import Context
from typing import NoReturn

import pytest

from keyturn._threads import MOST_ABANDONED, AbandonedError, BoundedCalls, Inside, ThreadEndedError, start

PATIENCE = 20.0
LATE = 0.01


def refuse(*args: object, **kwargs: object) -> NoReturn:
    """Start no thread."""
    raise RuntimeError("can't start new thread")


def ended(*names: str) -> None:
    """Wait until no thread of these names is left."""
    for thread in threading.enumerate():
        if thread.name in names:
            thread.join(PATIENCE)
            assert not thread.is_alive()


class TestStart:
    """`start()` returns before the thread is up."""

    def test_it_runs_on_a_named_daemon_thread(self) -> None:
        """The process never waits for it, and a dump of stacks says what it is."""
        seen: list[threading.Thread] = []
        done = threading.Event()

        def run() -> None:
            seen.append(threading.current_thread())
            done.set()

        start(run, "keyturn-test", Context())
        assert done.wait(PATIENCE)
        assert (seen[0].name, seen[0].daemon) == ("keyturn-test", True)
        assert seen[0] is not threading.current_thread()

    def test_it_runs_in_the_context_that_was_given(self) -> None:
        """Not in the one of whoever happens to start it."""
        variable = contextvars.ContextVar("variable", default="none")
        seen: list[str] = []
        variable.set("ours")
        for context in (Context(), contextvars.copy_context()):
            done = threading.Event()
            start(lambda done=done: (seen.append(variable.get()), done.set()), "keyturn-test", context)
            assert done.wait(PATIENCE)
        assert seen == ["none", "ours"]

    def test_it_does_not_wait_for_the_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The new thread is held before its first step, and `start()` is back."""
        held = threading.Event()
        begin = _thread.start_new_thread
        monkeypatch.setattr(_thread, "start_new_thread", lambda boot, arguments: begin(lambda: (held.wait(PATIENCE), boot()), arguments))
        done = threading.Event()
        start(done.set, "keyturn-test", Context())
        assert not done.is_set()
        held.set()
        assert done.wait(PATIENCE)

    def test_refusal_of_the_system_is_the_callers_to_handle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is looked up at the time of the call, so that gevent may patch late, and raises `RuntimeError`."""
        monkeypatch.setattr(_thread, "start_new_thread", refuse)
        with pytest.raises(RuntimeError):
            start(lambda: None, "keyturn-test", Context())

    def test_refusal_of_the_second_start_runs_on_the_first_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A thread that is there does the work itself."""
        done, seen = threading.Event(), []

        class Refused(threading.Thread):
            start = refuse  # type: ignore[assignment]

        monkeypatch.setattr(threading, "Thread", Refused)
        start(lambda: (seen.append(threading.get_ident()), done.set()), "keyturn-test", Context())
        assert done.wait(PATIENCE)
        assert seen != [threading.get_ident()]


class TestBoundedCalls:
    """A call returns, raises, or is left behind."""

    def test_it_returns_what_the_call_returns(self) -> None:
        """None is a value too, and the call runs elsewhere."""
        calls = BoundedCalls()
        assert calls.run(lambda: None, PATIENCE, "keyturn-test") is None
        assert calls.run(threading.get_ident, PATIENCE, "keyturn-test") != threading.get_ident()

    def test_it_raises_what_the_call_raises(self) -> None:
        """The same exception."""
        error = ValueError("text")

        def fail() -> NoReturn:
            raise error

        with pytest.raises(ValueError, match="text") as caught:
            BoundedCalls().run(fail, PATIENCE, "keyturn-test")
        assert caught.value is error

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=lambda error: type(error).__name__)
    def test_end_of_its_thread_is_an_ordinary_error(self, error: BaseException) -> None:
        """What ends the thread of a call ends no other thread."""

        def end() -> NoReturn:
            raise error

        with pytest.raises(ThreadEndedError, match=type(error).__name__):
            BoundedCalls().run(end, PATIENCE, "keyturn-test")

    def test_call_that_another_thread_left_behind_meanwhile_counts(self) -> None:
        """Whoever tidies up while another thread's call is left behind does not lose count of it."""
        calls, free = BoundedCalls(), threading.Event()
        others: list[threading.Thread] = []

        class Over:
            @property
            def done(self) -> Over:
                return self

            @property
            def is_set(self) -> bool:
                """Say that it is over, after another thread has left a call behind."""
                if not others:
                    others.append(threading.Thread(target=late))
                    others[0].start()
                    others[0].join(PATIENCE)
                return True

        def late() -> None:
            with pytest.raises(AbandonedError):
                calls.run(lambda: free.wait(PATIENCE), LATE, "keyturn-left")

        over = Over()
        calls._abandoned.append(over)
        assert calls.run(lambda: 1, PATIENCE, "keyturn-test") == 1
        assert len(calls._abandoned) == 1
        assert calls._abandoned[0] is not over
        free.set()
        ended("keyturn-left")

    def test_its_error_is_let_go(self) -> None:
        """No cycle keeps an exception, and with it the locals of the call, until the next collection."""
        references: list[weakref.ref[BaseException]] = []

        class WatchedError(Exception):
            def __init__(self) -> None:
                references.append(weakref.ref(self))

        def fail() -> NoReturn:
            raise WatchedError

        gc.disable()
        try:
            with pytest.raises(WatchedError):
                BoundedCalls().run(fail, PATIENCE, "keyturn-test")
            ended("keyturn-test")
            assert references[0]() is None
        finally:
            gc.enable()

    def test_late_call_is_left_behind(self) -> None:
        """It goes on, and what it brings is thrown away."""
        free = threading.Event()
        with pytest.raises(AbandonedError, match="not over within 0.01 s"):
            BoundedCalls().run(lambda: free.wait(PATIENCE), LATE, "keyturn-late")
        free.set()
        ended("keyturn-late")

    def test_stuck_calls_are_capped(self) -> None:
        """So many may be stuck at a time; the next fails at once, without a thread, until one of them is over."""
        calls, free, ran = BoundedCalls(), threading.Event(), []
        for _ in range(MOST_ABANDONED):
            with pytest.raises(AbandonedError, match="not over"):
                calls.run(lambda: free.wait(PATIENCE), LATE, "keyturn-stuck")
        with pytest.raises(AbandonedError, match="4 earlier calls are still stuck"):
            calls.run(lambda: ran.append(1), PATIENCE, "keyturn-test")
        assert not ran
        free.set()
        ended("keyturn-stuck")
        calls.run(lambda: ran.append(1), PATIENCE, "keyturn-test")
        assert ran == [1]

    def test_it_runs_in_a_copy_of_the_callers_context(self) -> None:
        """The call sees the caller's variables, and changes none of them."""
        variable = contextvars.ContextVar("variable", default="none")
        variable.set("ours")
        seen = BoundedCalls().run(lambda: (variable.get(), variable.set("theirs"))[0], PATIENCE, "keyturn-test")
        assert (seen, variable.get()) == ("ours", "ours")

    @pytest.mark.parametrize("error", [ValueError("text"), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
    def test_without_threads_it_runs_here(self, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        """On the caller's thread, whose interrupts stay what they are."""
        for name in ("_start_new_thread", "_start_joinable_thread"):
            monkeypatch.setattr(threading, name, refuse, raising=False)
        assert BoundedCalls().run(threading.get_ident, PATIENCE, "keyturn-test") == threading.get_ident()

        def fail() -> NoReturn:
            raise error

        with pytest.raises(type(error)) as caught:
            BoundedCalls().run(fail, PATIENCE, "keyturn-test")
        assert caught.value.__context__ is None


class TestInside:
    """Which threads work for a client now."""

    def test_it_lasts_as_long_as_the_call(self) -> None:
        """Also after an error: the next thread may get the same ident."""
        inside = Inside()

        def fail() -> NoReturn:
            assert inside.here
            raise ValueError("text")

        with pytest.raises(ValueError, match="text"):
            inside.run(fail)
        assert not inside.here

    def test_inner_end_is_not_the_outer_one(self) -> None:
        """A thread that does two things for one client belongs to it until both are done."""
        inside = Inside()
        assert inside.run(lambda: (inside.run(lambda: inside.here), inside.here)) == (True, True)

    def test_other_threads_are_not_inside(self) -> None:
        """Only the thread itself."""
        inside = Inside()
        assert not inside.run(lambda: BoundedCalls().run(lambda: inside.here, PATIENCE, "keyturn-test"))

    def test_child_of_a_fork_forgets(self) -> None:
        """No thread of the parent runs there."""
        inside = Inside()
        assert inside.run(lambda: (inside.forget(), inside.here)[1]) is False
