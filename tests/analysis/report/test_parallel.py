"""Parts of a report made by several processes are those that one makes."""

import os
import threading
import time

import pytest

from analysis.report.parallel import made


def test_all_are_made_in_their_order_by_as_many_processes():
    found = made(lambda name: (name, os.getpid()), list("abcde"), processes=2)
    assert [name for name, _ in found] == list("abcde")
    assert len({process for _, process in found}) == 2
    assert {process for name, process in found if name in "ace"} == {os.getpid()}


def test_one_core_needs_no_other_process():
    assert made(lambda name: os.getpid(), ["a", "b"], processes=1) == [os.getpid()] * 2


def test_what_a_process_that_died_did_not_come_to_is_made_here():
    here = os.getpid()

    def make(name: str) -> str:
        if name == "d" and os.getpid() != here:
            os._exit(9)
        return name.upper()

    assert made(make, list("abcdef"), processes=2) == list("ABCDEF")


def test_what_a_process_died_in_the_middle_of_is_made_here():
    here = os.getpid()

    def make(name: str) -> str:
        if name == "b" and os.getpid() != here:
            threading.Timer(0.2, os._exit, [9]).start()
        return name * 10_000_000 if name == "b" else (time.sleep(0.6) or name)

    assert made(make, ["a", "b"], processes=2) == ["a", "b" * 10_000_000]


def test_what_fails_fails_here_with_its_own_words():
    def make(name: str) -> str:
        raise ValueError(f"{name} cannot be made")

    with pytest.raises(ValueError, match="a cannot be made"):
        made(make, ["a", "b"], processes=2)


def test_what_fails_in_the_other_process_fails_here():
    def make(name: str) -> str:
        if name == "b":
            raise ValueError(f"{name} cannot be made")
        return name

    with pytest.raises(ValueError, match="b cannot be made"):
        made(make, ["a", "b"], processes=2)
