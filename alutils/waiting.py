"""Messages while a run waits: what it waits for, repeated every minute."""

import time
from collections.abc import Callable

AGAIN_S = 60
"""Seconds between two messages of the same wait."""


class Waiting:
    """Says what a run waits for: after ``quiet_s`` seconds, and every ``AGAIN_S`` from then on."""

    def __init__(self, say: Callable[[str], None], quiet_s: float = 0.0):
        self.say, self.quiet_s = say, quiet_s
        self.end()

    def end(self) -> None:
        """End the wait, as what was waited for is there."""
        self.since: float | None = None

    def go_on(self, line: str) -> float:
        """Begin or go on with the wait that ``line`` describes; returns its seconds so far."""
        now = time.monotonic()
        if self.since is None:
            self.since, self.due = now, now + self.quiet_s
        if now >= self.due:
            self.say(line)
            self.due = now + AGAIN_S
        return now - self.since
