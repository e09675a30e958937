"""Where rounds are computed: a local cluster of one-thread workers, or a running scheduler."""

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

from distributed import Client, Security, rpc

from alutils.protocol.parameters import ParameterError
from alutils.running.local_workers import local_cluster
from alutils.running.placement import Placement, dask_settings
from alutils.running.workers import Workers, versions

CONNECT_S = 10
"""Seconds to wait for a scheduler."""
SHARED = "ALUTILS_CLUSTER"
"""Environment variable that tells child processes about the local cluster of ``shared``."""


@contextmanager
def cluster(placement: Placement, say: Callable[[str], None] = print) -> Iterator[Workers]:
    """The workers of a scheduler, or of a local cluster of one-thread worker processes.

    The local cluster is that of ``shared`` if a parent process has one for this placement.
    Raises ``ParameterError`` if no scheduler answers, and ``StudyError`` if the local cluster can't
    start or no worker is suitable.
    """
    with dask_settings(placement), ExitStack() as stack:
        client = stack.enter_context(_client(placement, stack))
        with suppress(KeyError, ValueError):  # a user's Dask may set a link template that fails
            say(f"dashboard: {client.dashboard_link}")
        yield Workers(client, placement, say)


def check_scheduler(scheduler: str) -> None:
    """Raise ``ParameterError`` if no Dask scheduler answers at the address.

    The wait is bounded, whatever answers: Dask's client would wait forever for the handshake of
    another service.
    """

    async def greet() -> None:
        security = Security().get_connection_args("client")
        async with rpc(scheduler, timeout=CONNECT_S, connection_args=security) as service:
            identity = await asyncio.wait_for(service.identity(), 2 * CONNECT_S)
        if identity["type"] != "Scheduler":
            raise ValueError(f"a Dask {identity['type'].lower()} answers there")

    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's thread already has an event loop
            thread.submit(asyncio.run, greet()).result()
    except Exception as error:  # another service's answer may make Dask raise anything
        reason = (str(error) or "no Dask scheduler answers there").splitlines()[0]
        raise ParameterError(
            f"scheduler = {scheduler!r} can't be reached ({reason}): start one with `dask "
            "scheduler`, and give its address as tcp://HOST:8786"
        ) from None


@contextmanager
def shared(placement: Placement) -> Iterator[None]:
    """Start a local cluster that child processes with this placement share, until the context ends.

    This saves the notebooks of a run from each starting workers and importing torch in them.
    """
    with local_cluster(placement) as address:
        os.environ[SHARED] = f"{address} {placement} {versions()}"
        try:
            yield
        finally:
            os.environ.pop(SHARED, None)


def _shared_address(placement: Placement) -> str:
    """Address of a parent process's local cluster for this placement; empty if there is none.

    A cluster that was started before the code was changed doesn't count.
    """
    address, _, serves = os.environ.get(SHARED, "").partition(" ")
    return address if serves == f"{placement} {versions()}" else ""


def _client(placement: Placement, stack: ExitStack) -> Client:
    """A client of the given scheduler, or of a local cluster: a parent's, or a new one.

    ``stack`` closes a new cluster, which also replaces a parent's whose process has died.
    """
    if placement.scheduler:
        return _connected(placement.scheduler)
    if address := _shared_address(placement):
        with suppress(ParameterError):
            return _connected(address)
    return _connected(stack.enter_context(local_cluster(placement)))


def _connected(scheduler: str) -> Client:
    check_scheduler(scheduler)
    return Client(scheduler, timeout=CONNECT_S)
