"""A wait that is told of: what a run waits for is said, and said again."""

import time
from collections.abc import Callable

AGAIN_S = 60
"""How often it is said what a run still waits for."""


class Waiting:
    """Says what is waited for: after ``quiet_s`` seconds, and every minute from then on."""

    def __init__(self, say: Callable[[str], None], quiet_s: float = 0.0):
        self.say, self.quiet_s = say, quiet_s
        self.end()

    def end(self) -> None:
        """What was waited for is there."""
        self.since: float | None = None

    def go_on(self, line: str) -> float:
        """Wait, or wait on, for what ``line`` says; returns the seconds that it has lasted."""
        now = time.monotonic()
        if self.since is None:
            self.since, self.due = now, now + self.quiet_s
        if now >= self.due:
            self.say(line)
            self.due = now + AGAIN_S
        return now - self.since
