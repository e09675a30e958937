"""Work on all cores in threads, a little ahead of what takes its results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    initializer: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """Results of a function in the items' order; two items a core are begun ahead of the taker.

    So neither the items nor the results are all in memory at once.
    """
    from dask.system import CPU_COUNT

    items = iter(items)
    with ThreadPoolExecutor(CPU_COUNT, initializer=initializer) as pool:
        begun = deque(pool.submit(function, item) for item in islice(items, 2 * CPU_COUNT))
        try:
            while begun:
                yield begun.popleft().result()
                begun.extend(pool.submit(function, item) for item in islice(items, 1))
        finally:
            pool.shutdown(cancel_futures=True)
