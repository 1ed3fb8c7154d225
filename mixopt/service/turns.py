"""Writes of requests that come together: one transaction for all of them.

A transaction, a change of threads and a look at who asks cost more than the rows that a request
writes, so those that wait meanwhile share them. Each is answered after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mixopt.errors import MixoptError
from mixopt.service.access import Caller, Gate, require
from mixopt.service.catalogue import Catalogue, Held
from mixopt.service.problems import Refused
from mixopt.study.storage.access_tokens import Scope, Token

T = TypeVar("T")

#: Turns in one transaction, so that the first of many does not wait for all of them.
MOST = 64


@dataclass(frozen=True)
class Turn(Generic[T]):
    """What a request writes to a study.

    Attributes:
        caller: Who sent it.
        study: Name of the study.
        do: The write, given the study and whose token it is; done again, alone, where another turn
            of its transaction fails.
        ends: Whether it ends a trial, after which the next round may be due.
    """

    caller: Caller
    study: str
    do: Callable[[Held, Token], T]
    ends: bool = False


#: Who was let in to a study, or why not.
Entry = tuple[Held, Token] | Exception


class Turns:
    """Does what requests write, in the order of their coming.

    Args:
        known: The studies.
        gate: Lets callers in.
    """

    def __init__(self, known: Catalogue, gate: Gate) -> None:
        self._known = known
        self._gate = gate
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="turns")
        self._waiting: list[tuple[Turn[Any], asyncio.Future[Any]]] = []
        self._working: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Do no more."""
        self._thread.shutdown()

    async def take(self, turn: Turn[T]) -> T:
        """What a turn returns, once it is stored.

        Raises:
            Refused: If the caller may not work on the study.
            MixoptError: What the turn raised.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.append((turn, answer))
        if self._working is None:
            self._working = loop.create_task(self._work(loop))
        return await answer

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._waiting:
                now, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                turns = [turn for turn, _ in now]
                results = await loop.run_in_executor(self._thread, self._results, turns)
                for (_, answer), result in zip(now, results, strict=True):
                    _settle(answer, result)
        finally:
            self._working = None

    def _results(self, turns: list[Turn[Any]]) -> list[Any]:
        """What each turn returned or raised."""
        try:
            found = self._together(turns)
        except Exception as error:
            # Nothing of it is stored: whose fault it is shows when each has a transaction.
            return [error] if len(turns) == 1 else [r for t in turns for r in self._results([t])]
        troubles = {name: self._go_on(name) for name in {t.study for t in turns if t.ends}}
        return [
            (troubles[turn.study] or result) if turn.ends else result
            for turn, result in zip(turns, found, strict=True)
        ]

    def _go_on(self, name: str) -> Exception | None:
        """Have the next round made where none is open, after the commit that may have ended one."""
        try:
            self._known.go_on(self._known.held(name))
        except Exception as error:  # else nobody of this transaction would be answered
            return error
        return None

    def _together(self, turns: list[Turn[Any]]) -> list[Any]:
        entries: dict[tuple[Caller, str], Entry] = {}
        with self._known.store.write():
            for turn in turns:
                key = turn.caller, turn.study
                if key not in entries:
                    entries[key] = self._entry(turn)
            return [_done(turn, entries[turn.caller, turn.study]) for turn in turns]

    def _entry(self, turn: Turn[Any]) -> Entry:
        try:
            token = self._gate.token_of(turn.caller)
            require(token, Scope.work, turn.study)
            return self._known.held(turn.study), token
        except (Refused, MixoptError) as refusal:
            # It writes nothing, so that the others' transaction can go on.
            return refusal


def _done(turn: Turn[T], entry: Entry) -> T | Exception:
    return entry if isinstance(entry, Exception) else turn.do(*entry)


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
