"""A cluster of made-up workers, and its client."""

from alutils.running import workers as workers_module
from alutils.running.placement import Placement
from alutils.running.workers import Workers, versions

ADDRESS = "tcp://somewhere:8786"


class FakeClient:
    """A cluster of made-up workers: resources, threads and versions by address."""

    def __init__(self, sees_gpu: bool = False):
        self.joined, self.versions, self.sees_gpu = {}, {}, sees_gpu

    def join(self, name: str, reported: object = None, threads: int = 1, **resources: float):
        self.joined[name] = {"nthreads": threads, "resources": resources}
        self.versions[name] = reported or versions()
        return self

    def wait_for_workers(self, count: int, timeout: float) -> None:
        if len(self.joined) < count:
            raise TimeoutError

    def scheduler_info(self, n_workers: int) -> dict:
        return {"workers": dict(self.joined)}

    def run(self, function, workers: list[str], on_error: str = "raise") -> dict:
        if function is workers_module._sees_gpu:
            return dict.fromkeys(workers, self.sees_gpu)
        return {name: self.versions[name] for name in workers}


def checked_workers(client: FakeClient, **fields) -> Workers:
    client.lines = []
    return Workers(client, Placement(ADDRESS, **fields), client.lines.append)
