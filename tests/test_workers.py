import os
import signal
import threading
import time
from functools import partial

import pytest
from joblib import parallel_config

from harkeras.base.workers import (
    Lost,
    are_workers_configured,
    check_workers,
    in_order,
    in_order_on_workers,
    on_workers,
    one_ahead,
    share_memory,
)


def test_results_come_in_order():
    def work(number):
        time.sleep(0.01 if number % 3 == 0 else 0)
        return number

    assert list(in_order(work, range(30), 4)) == list(range(30))
    assert list(in_order(work, range(3))) == [0, 1, 2]
    assert list(in_order(work, [])) == []


def test_only_a_few_are_computed_ahead():
    begun = []
    results = in_order(begun.append, range(400), 2)
    for _ in range(6):
        next(results)
    time.sleep(0.1)
    assert len(begun) <= 6 + 4 * 2
    results.close()


def test_an_error_comes_when_its_turn_comes_and_ends_the_threads():
    error = KeyError("three")

    def work(number):
        if number == 3:
            raise error
        return number

    before = threading.active_count()
    results = in_order(work, range(400), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError) as raised:
        next(results)
    assert raised.value is error
    assert threading.active_count() == before


def test_closing_cancels_what_has_not_begun_and_joins_the_threads():
    begun = []

    def work(number):
        begun.append(number)
        time.sleep(0.02)

    before = threading.active_count()
    results = in_order(work, range(400), 2)
    next(results)
    results.close()
    count = len(begun)
    assert count < 8
    assert threading.active_count() == before
    time.sleep(0.1)
    assert len(begun) == count


def test_one_ahead():
    begun = []

    def items():
        for number in range(10):
            begun.append(number)
            yield number

    ahead = one_ahead(items())
    assert next(ahead) == 0
    time.sleep(0.05)
    assert begun == [0, 1]
    assert list(ahead) == list(range(1, 10))


def test_workers_are_used_where_joblib_was_told_of_them():
    assert not are_workers_configured()
    with parallel_config("loky"):
        assert not are_workers_configured()  # joblib's default, one worker
    for options in ({"backend": "loky", "n_jobs": 2}, {"n_jobs": 2}, {"backend": "threading"}):
        with parallel_config(**options):
            assert are_workers_configured()
            assert share_memory() is (options.get("backend") == "threading")
            with pytest.raises(ValueError, match="workers must be left out inside joblib"):
                check_workers(3)
            check_workers(None)
    check_workers(3)


def test_workers_give_results_in_order_and_errors_as_they_are():
    def work(number):
        time.sleep(0.01 if number % 3 == 0 else 0)
        if number == 150:
            raise KeyError("150")
        return number

    with parallel_config("threading", n_jobs=2):
        assert sorted(on_workers(work, range(140))) == [(number, number) for number in range(140)]
        assert list(in_order_on_workers(work, range(140))) == list(range(140))
        with pytest.raises(KeyError, match="150"):
            list(on_workers(work, range(200)))


def _dies(folder, number):
    """Ends its process the first time with 5, and every time with 9."""
    with (folder / f"{number}.{os.getpid()}").open("x"):
        pass
    first = number == 5 and not (folder / "died").exists()
    if first or number == 9:
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.slow
def test_a_lost_worker_costs_what_it_had_begun(tmp_path):
    with parallel_config("loky", n_jobs=2):
        results = list(in_order_on_workers(partial(_dies, tmp_path), range(24)))
    (lost,) = [result for result in results if isinstance(result, Lost)]
    assert results.index(lost) == 9
    assert "workers were lost with it, 3 times" in lost.reason
    assert [result for result in results if result is not lost] == [*range(9), *range(10, 24)]


@pytest.mark.slow
def test_workers_that_are_lost_whatever_they_do_are_an_error():
    with parallel_config("loky", n_jobs=2), pytest.raises(Exception, match="terminated"):
        list(on_workers(os._exit, [1] * 8))
