"""Turns at hosts: a few requests at a time at each of them, none while it rests, and none once it
is taken for dead."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

# tries one after the other without an answer, while other hosts answer: the host is given up
MAX_SILENT_TRIES = 100
MAX_REST = 300.0  # seconds: a host that wants more is asked again after these
MAX_RESTED = 3600.0  # seconds in a row: a host that still answers nothing else is given up

Task = TypeVar("Task")


@dataclass
class _Host(Generic[Task]):
    waiting: deque[Task] = field(default_factory=deque)
    running: int = 0
    silent: int = 0  # tries in a row without an answer
    rested: float = 0.0  # seconds in a row, without any other answer after them
    wakes: float = 0.0  # the loop's time


class Hosts(Generic[Task]):
    """Tasks that wait for a turn at their host. `changed` is called when there may be a new
    turn."""

    def __init__(self, limit: int, changed: Callable[[], None]) -> None:
        self._limit = limit  # tasks of a host that run at a time
        self._changed = changed
        self._hosts: dict[str, _Host[Task]] = {}
        self._ready: dict[str, None] = {}  # those with a turn, the longest ago first
        self.dead: dict[str, str] = {}  # host, and how its last try ended
        self._silent = 0  # tries in a row without an answer, at whatever host
        self._now = asyncio.get_running_loop().time

    def put(self, name: str, task: Task) -> None:
        """A task for a host."""
        self._hosts.setdefault(name, _Host()).waiting.append(task)
        self._settle(name)

    def take(self) -> Task | None:
        """A task whose host has a turn; `leave` ends it."""
        if (name := next(iter(self._ready), None)) is None:
            return None
        host = self._hosts[name]
        task = host.waiting.popleft()
        host.running += 1
        del self._ready[name]  # the others first
        self._settle(name)
        return task

    def leave(self, name: str, status: str, *, silent: bool, rest: float) -> list[Task]:
        """A task has had its turn. Returns those that are abandoned because the host is dead.

        silent: nothing came back; rest: seconds for which the host wants no requests."""
        host = self._hosts[name]
        host.running -= 1
        host.silent = host.silent + 1 if silent else 0
        self._silent = self._silent + 1 if silent else 0
        rest = min(rest, MAX_REST)
        if not rest:
            host.rested = 0.0
        elif self._now() >= host.wakes:  # not one more of the answers that made it sleep
            host.rested += rest
        abandoned: list[Task] = []
        if host.silent >= MAX_SILENT_TRIES > self._silent or host.rested > MAX_RESTED:
            self.dead[name] = status
            abandoned, host.waiting = list(host.waiting), deque()
        elif rest:
            self._sleep(name, host, rest)
        self._settle(name)
        return abandoned

    def _sleep(self, name: str, host: _Host[Task], seconds: float) -> None:
        if (wakes := self._now() + seconds) > host.wakes:
            host.wakes = wakes
            asyncio.get_running_loop().call_later(seconds + 0.001, self._settle, name)

    def _settle(self, name: str) -> None:
        """Note whether a host has a turn; forget a host that nothing is known of or waits for."""
        if (host := self._hosts.get(name)) is None:
            return
        awake = self._now() >= host.wakes
        if host.waiting and host.running < self._limit and awake:
            self._ready[name] = None
            self._changed()
        else:
            self._ready.pop(name, None)
        if not host.waiting and not host.running and awake and not host.rested:
            del self._hosts[name]
