"""Turns at hosts: a few requests at a time at each of them, none while it rests, none any more once
it has died."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

# tries one after the other without an answer, while other hosts answer: the host is given up
DEAD = 100
LONGEST_REST = 300.0  # seconds: a host that wants more is asked again after these

Job = TypeVar("Job")


@dataclass
class _Host(Generic[Job]):
    waiting: deque[Job] = field(default_factory=deque)
    running: int = 0
    silent: int = 0  # tries in a row without an answer
    wakes: float = 0.0  # the loop's time


class Hosts(Generic[Job]):
    """Jobs that wait for a turn at their host. `changed` is called when there may be a new turn."""

    def __init__(self, limit: int, changed: Callable[[], None]) -> None:
        self._limit = limit  # jobs of a host that run at a time
        self._changed = changed
        self._hosts: dict[str, _Host[Job]] = {}
        self._ready: dict[str, None] = {}  # those with a turn, the longest ago first
        self.dead: dict[str, str] = {}  # host, and how its last try ended
        self._silent = 0  # tries in a row without an answer, at whatever host
        self._now = asyncio.get_running_loop().time

    def put(self, name: str, job: Job) -> None:
        """A job for a host."""
        self._hosts.setdefault(name, _Host()).waiting.append(job)
        self._settle(name)

    def take(self) -> Job | None:
        """A job whose host has a turn; `leave` ends it."""
        if (name := next(iter(self._ready), None)) is None:
            return None
        host = self._hosts[name]
        job = host.waiting.popleft()
        host.running += 1
        del self._ready[name]  # the others first
        self._settle(name)
        return job

    def leave(self, name: str, status: str, *, silent: bool, rest: float) -> list[Job]:
        """A job has had its turn. Returns those that are given up because the host is dead."""
        host = self._hosts[name]
        host.running -= 1
        host.silent = host.silent + 1 if silent else 0
        self._silent = self._silent + 1 if silent else 0
        given_up: list[Job] = []
        if host.silent >= DEAD > self._silent:
            self.dead[name] = status
            given_up, host.waiting = list(host.waiting), deque()
        if rest:
            self._sleep(name, host, min(rest, LONGEST_REST))
        self._settle(name)
        return given_up

    def _sleep(self, name: str, host: _Host[Job], seconds: float) -> None:
        if (wakes := self._now() + seconds) > host.wakes:
            host.wakes = wakes
            asyncio.get_running_loop().call_later(seconds + 0.001, self._settle, name)

    def _settle(self, name: str) -> None:
        """Whether a host has a turn; a host that nothing is known of and wanted of is forgotten."""
        if (host := self._hosts.get(name)) is None:
            return
        awake = self._now() >= host.wakes
        if host.waiting and host.running < self._limit and awake:
            self._ready[name] = None
            self._changed()
        else:
            self._ready.pop(name, None)
        if not host.waiting and not host.running and awake:
            del self._hosts[name]
