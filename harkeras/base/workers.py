"""Work in threads that comes back in order: decoding, resizing and encoding release the interpreter's lock.

Not `joblib.Parallel(return_as="generator")`: it is as fast, but goes on reading while nobody takes its
results, 291 clips ahead of the sixth of 400 where 8 were asked for, and they would fill the memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from joblib import cpu_count
from tqdm.auto import tqdm


def in_order(work: Callable, items: Iterable, workers: int | None = None) -> Iterator:
    """Yield `work(item)` of each item in order, computed in threads, only a few ahead of the one in use.

    An error of `work` is raised when its turn comes. Then, at the end, and where the generator is closed (use
    `contextlib.closing` where the consumer may fail), what has not begun is canceled and the threads end.

    Args:
        work: Function of an item.
        items: Its arguments.
        workers: Number of threads; one per core that this process may use by default.
    """
    workers = workers or cpu_count()
    pool, ahead = ThreadPoolExecutor(workers), deque()
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > 4 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_order_with_bar(
    work: Callable, items: Sequence, description: str, workers: int | None = None, *, unit: str = "clip"
) -> Iterator:
    """`in_order`, with a progress bar that counts the items."""
    with closing(in_order(work, items, workers)) as results:
        yield from tqdm(results, description, len(items), unit=unit)


def one_ahead(items: Iterable) -> Iterator:
    """Compute the next item in a thread of its own while the last one is in use."""
    items = iter(items)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
