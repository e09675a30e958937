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
"""How long to look for a scheduler."""
SHARED = "ALUTILS_CLUSTER"
"""Environment variable that tells child processes of the local cluster of ``shared``."""


@contextmanager
def cluster(placement: Placement, say: Callable[[str], None] = print) -> Iterator[Workers]:
    """The workers of a scheduler, or of a local cluster of one-thread worker processes.

    The local cluster is that of ``shared`` where a parent process has one for this placement.
    Raises ``StudyError`` when there is no scheduler, or no worker that fits.
    """
    with dask_settings(placement), ExitStack() as stack:
        client = stack.enter_context(_client(placement, stack))
        with suppress(KeyError, ValueError):  # a link as the user's Dask writes it, if that can be
            say(f"dashboard: {client.dashboard_link}")
        yield Workers(client, placement, say)


def reach(scheduler: str) -> None:
    """Raise ``ParameterError`` where no Dask scheduler answers at the address.

    Bounded whatever answers there: Dask's client waits for ever for another service's handshake.
    """

    async def greet() -> None:
        security = Security().get_connection_args("client")
        async with rpc(scheduler, timeout=CONNECT_S, connection_args=security) as service:
            identity = await asyncio.wait_for(service.identity(), 2 * CONNECT_S)
        if identity["type"] != "Scheduler":
            raise ValueError(f"a Dask {identity['type'].lower()} answers there")

    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's own has an event loop already
            thread.submit(asyncio.run, greet()).result()
    except Exception as error:  # whatever another service's answer makes of Dask's reader
        reason = (str(error) or "no Dask scheduler answers there").splitlines()[0]
        raise ParameterError(
            f"scheduler = {scheduler!r} can't be reached ({reason}): start one with `dask "
            "scheduler`, and give its address as tcp://HOST:8786"
        ) from None


@contextmanager
def shared(placement: Placement) -> Iterator[None]:
    """A local cluster for all that child processes compute at this placement, until the end.

    So the notebooks of a run need not start workers, and import torch in them, one after another.
    """
    with local_cluster(placement) as address:
        os.environ[SHARED] = f"{address} {placement} {versions()}"
        try:
            yield
        finally:
            os.environ.pop(SHARED, None)


def _shared_address(placement: Placement) -> str:
    """Address of the local cluster that a parent process has for this placement, or nothing.

    A cluster that was started before the code was changed is not for this process.
    """
    address, _, serves = os.environ.get(SHARED, "").partition(" ")
    return address if serves == f"{placement} {versions()}" else ""


def _client(placement: Placement, stack: ExitStack) -> Client:
    """A client of the given scheduler, or of a local cluster: a parent's, or one for ``stack``.

    A parent's whose process has died is replaced.
    """
    if placement.scheduler:
        return _connected(placement.scheduler)
    if address := _shared_address(placement):
        with suppress(ParameterError):
            return _connected(address)
    return _connected(stack.enter_context(local_cluster(placement)))


def _connected(scheduler: str) -> Client:
    reach(scheduler)
    return Client(scheduler, timeout=CONNECT_S)
