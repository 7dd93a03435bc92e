"""Work that comes back: in threads of this process, or on the workers that joblib was told of.

Decoding, resizing and encoding release the interpreter's lock, so that threads serve on one machine. What is
to go through processes, Dask or Ray is asked for around a call, with `joblib.parallel_config`.

In threads, not `joblib.Parallel(return_as="generator")`: it is as fast, but goes on reading while nobody
takes its results, 291 clips ahead of the sixth of 400 where 8 were asked for, and they would fill the memory.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple

from joblib import Parallel, cpu_count, delayed, effective_n_jobs
from joblib.parallel import BACKENDS, DEFAULT_BACKEND, get_active_backend
from tqdm.auto import tqdm

_TRIES = 3  # of an item, and how many items in a row may be lost
_ROUND = 32  # items per worker of which the results may wait for whoever takes them


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


class Lost(NamedTuple):
    """Stands for the result of an item with which a worker was lost each time; says why."""

    reason: str


def are_workers_configured() -> bool:
    """Whether this call stands in a `joblib.parallel_config` that asks for workers."""
    backend, n_jobs = get_active_backend()
    return n_jobs != 1 if n_jobs is not None else not isinstance(backend, BACKENDS[DEFAULT_BACKEND])


def check_workers(workers: int | None) -> None:
    """Raise ValueError if threads are asked for where `joblib.parallel_config` has said who works."""
    if workers is not None and are_workers_configured():
        raise ValueError(f"workers must be left out inside joblib.parallel_config, got {workers}")


def share_memory() -> bool:
    """Whether the workers that are configured are threads of this process, to which nothing is sent."""
    return getattr(get_active_backend()[0], "supports_sharedmem", False)


def on_workers(work: Callable, items: Sequence) -> Iterator[tuple[int, Any]]:
    """Yield the number of each item and `work(item)`, as they are done by the workers of `parallel_config`.

    A worker that is lost, killed for its memory or with its machine, costs what it had begun: that is done
    again by others. An item with which it happens every time has the result `Lost`. An error of `work` is
    raised as it is.

    Args:
        work: Function of an item; both must be such that they can be sent.
        items: Its arguments.

    Raises:
        Exception: What the workers say if they are lost whatever they do, or cannot be reached.
    """
    count = _ROUND * effective_n_jobs(_count_jobs())
    with closing(_Crew(work)) as crew:
        for first in range(0, len(items), count):
            yield from crew.run(list(enumerate(items[first : first + count], first)))


def in_order_on_workers(work: Callable, items: Sequence) -> Iterator:
    """Yield what `on_workers` does in the order of the items."""
    early, number = {}, 0
    with closing(on_workers(work, items)) as results:
        for each, result in results:
            early[each] = result
            while number in early:
                yield early.pop(number)
                number += 1


def _count_jobs() -> int:
    """Return the number of workers in joblib's words: -1 for all there are, unless another was asked for."""
    n_jobs = get_active_backend()[1]
    return -1 if n_jobs is None else n_jobs


class _Crew:
    """The workers of joblib, which are called anew when they are lost."""

    def __init__(self, work: Callable):
        """Call nobody yet."""
        self._work, self._lost = delayed(_Guarded(work)), 0
        self._workers: Parallel | None = None

    def run(self, items: list[tuple[int, Any]], tries: int = _TRIES) -> Iterator[tuple[int, Any]]:
        """Yield the numbers of some items and their results.

        Where workers are lost, halves of what is left are tried, until it is known with which item.
        """
        left = dict(items)
        try:
            with _quietly_closed(self._open()(self._work(*item) for item in items)) as results:
                for number, (result, error) in results:
                    if error is not None:
                        raise _OfWorkError(error)
                    del left[number]
                    self._lost = 0
                    yield number, result
        except _OfWorkError as error:
            raise error.error from error.error.__cause__
        except Exception as error:  # whatever the pool calls it: errors of the work do not come this way
            self.close()
            items = list(left.items())
            if len(items) > 1:
                half = len(items) // 2
                yield from self.run(items[:half])
                yield from self.run(items[half:])
            elif tries > 1:
                yield from self.run(items, tries - 1)
            elif items:
                self._lost += 1
                if self._lost == _TRIES:  # these are not items: nothing works at all
                    raise
                yield items[0][0], Lost(f"workers were lost with it, {_TRIES} times: {_line(error)}")

    def close(self) -> None:
        """Let the workers go."""
        if self._workers is not None:
            workers, self._workers = self._workers, None
            with suppress(Exception):  # of workers that are lost
                workers.__exit__(None, None, None)

    def _open(self) -> Parallel:
        """Return the workers, the same ones for each round: what they have loaded stays with them."""
        if self._workers is None:
            backend = get_active_backend()[0]
            if type(backend).__name__ == "DaskDistributedBackend" and "submit" not in vars(backend):
                _complete_dask(backend)
            kind = "generator_unordered" if backend.supports_return_generator else "list"
            # One by one: an item takes long, and is what is lost with a worker.
            self._workers = Parallel(_count_jobs(), return_as=kind, batch_size=1).__enter__()
        return self._workers


@contextmanager
def _quietly_closed(results: Iterable) -> Iterator[Iterable]:
    """Close what joblib gives without a warning that some of it was not used: whoever ends early knows."""
    try:
        yield results
    finally:
        if hasattr(results, "close"):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "[0-9]+ tasks", UserWarning)
                results.close()


def _complete_dask(backend: Any) -> None:
    """Complete what joblib 1.6 does for Dask.

    Of a job that the scheduler gave up nobody is told, so that it is waited for without end; and while a
    single worker is there, this process would do the work itself, which may be what a worker died of.
    """
    submit, count = backend.submit, backend.effective_n_jobs

    def complete(job: Callable, callback: Callable) -> Future:
        future = submit(job, callback)
        future.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
        return future

    backend.submit, backend.effective_n_jobs = complete, lambda n_jobs: max(count(n_jobs), 2)


class _Guarded:
    """Work whose errors are results, so that they are not taken for those of the workers."""

    def __init__(self, work: Callable):
        """Remember what to do."""
        self._work = work

    def __call__(self, number: int, item: Any) -> tuple[int, tuple[Any, Exception | None]]:
        """Return the number, and the result or the error."""
        try:
            return number, (self._work(item), None)
        except Exception as error:
            return number, (None, error)


class _OfWorkError(Exception):
    """An error of the work, on its way through."""

    def __init__(self, error: Exception):
        super().__init__(str(error))
        self.error = error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
