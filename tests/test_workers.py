import threading
import time

import pytest

from harkeras.base.workers import in_order, one_ahead


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
