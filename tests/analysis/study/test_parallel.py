"""Pieces made by several processes are those that one makes."""

import multiprocessing
import os
import struct
import time

import pytest

from analysis.study.parallel import listen, made


def test_all_are_made_in_their_order_by_as_many_processes():
    def make(name: str) -> tuple[str, int]:
        time.sleep(0.2)  # so that each process comes to some
        return name, os.getpid()

    found = made(make, list("abcdefgh"), processes=2)
    assert [name for name, _ in found] == list("abcdefgh")
    assert len({process for _, process in found}) == 2


def test_one_core_needs_no_other_process():
    assert made(lambda name: os.getpid(), ["a", "b"], processes=1) == [os.getpid()] * 2


def test_a_process_goes_on_while_another_is_busy():
    here, others = os.getpid(), multiprocessing.get_context("fork").Semaphore(0)

    def make(piece: int) -> bytes:
        if os.getpid() != here:
            others.release()
        else:
            assert all(others.acquire(timeout=60) for _ in range(3))
        return bytes(1_000_000)  # more than a pipe holds

    assert made(make, range(4), processes=2) == [bytes(1_000_000)] * 4


def test_what_a_process_that_died_did_not_come_to_is_made_here():
    here = os.getpid()

    def make(name: str) -> str:
        if os.getpid() != here:
            os._exit(9)
        time.sleep(0.1)
        return name.upper()

    assert made(make, list("abcdef"), processes=2) == list("ABCDEF")


def test_what_a_process_died_in_the_middle_of_does_not_count():
    ours, theirs = multiprocessing.Pipe(duplex=False)
    found: dict[int, str] = {}
    theirs.send((1, "whole"))
    os.write(theirs.fileno(), struct.pack("!i", 100) + b"a part")  # a message says how long it is first
    theirs.close()
    listen(ours, found)
    assert found == {1: "whole"}


def test_what_fails_fails_here_with_its_own_words():
    def make(name: str) -> str:
        raise ValueError(f"{name} cannot be made")

    with pytest.raises(ValueError, match=r"[ab] cannot be made"):
        made(make, ["a", "b"], processes=2)


def test_what_fails_in_the_other_process_fails_here():
    def make(name: str) -> str:
        if name == "b":
            raise ValueError(f"{name} cannot be made")
        return name

    with pytest.raises(ValueError, match="b cannot be made"):
        made(make, ["a", "b"], processes=2)
