"""The variant store: every variant made once, whoever asks, in whatever order, and whatever dies on the way."""

import logging
import multiprocessing
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars import claims
from mars.augment.variant import Request, Variant
from mars.config import ConfigError, UserError
from mars.pool.store import Store
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair


class Shout:
    """An augmenter simple enough to predict: louder with every number; notes every variant it makes in a log file."""

    name = "shout"

    def __init__(
        self, log: Path | None = None, together: int = 1, batch: int = 4, pause: float = 0, fail_at: str | None = None
    ):
        self.settings = {"mark": "!", "together": together}
        self.log, self.together, self.batch, self.pause, self.fail_at = log, together, batch, pause, fail_at

    def identity(self, request: Request) -> str:
        return request.source

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        assert len(requests) <= self.batch
        variants = []
        for request in requests:
            if request.source == self.fail_at:
                raise KeyboardInterrupt
            time.sleep(self.pause)
            variants.append(shouted(request))
        if self.log is not None:
            with self.log.open("a") as log:
                log.write("".join(f"{request.source} {request.number}\n" for request in requests))
        return variants


class Stuck(Shout):
    """Falls asleep for good in the batch that holds `fail_at`, and says so first."""

    def make(self, requests: Sequence[Request]) -> list[Variant]:
        if self.fail_at in [request.source for request in requests]:
            self.log.with_suffix(".stuck").touch()
            time.sleep(3600)
        return super().make(requests)


def shouted(request: Request) -> Variant:
    text = None if request.source == "mute" else request.source.upper() + "!" * request.number
    return Variant(text, "shout", {"number": request.number, "words": [request.source]})


def asked(*texts: str, numbers: Sequence[int] = (0,)) -> list[Request]:
    pairs = [Pair(f"p{i}", (Message("user", "hm"),), text, "no") for i, text in enumerate(texts)]
    return [Request(pair, "chosen", number) for pair in pairs for number in numbers]


def rows(path: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def made(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_what_was_stored_comes_back_from_a_fresh_store(tmp_path):
    requests = asked("a", "mute", "\ud83d lone \x00", "", "a b\n", numbers=(0, 3))
    first, second = Store(tmp_path), Store(tmp_path)
    assert first.fill(Shout(), requests) == [shouted(request) for request in requests]
    assert second.fill(Shout(), requests) == [shouted(request) for request in requests]
    assert (first.made, first.found, second.made, second.found) == (10, 0, 0, 10)


def test_a_variant_keeps_where_it_came_from_and_the_file_says_who_made_it(tmp_path):
    store = Store(tmp_path)
    store.fill(Shout(), asked("a", "b", numbers=(2,)))
    path = store.path(Shout())
    assert rows(path, "SELECT parent, part, number, operation FROM variants ORDER BY parent") == [
        ("p0", "chosen", 2, "shout"),
        ("p1", "chosen", 2, "shout"),
    ]
    assert len(set(rows(path, "SELECT source FROM variants"))) == 2
    [(name, kept)] = rows(path, "SELECT name, settings FROM augmenter")
    assert name == "shout"
    assert '"mark": "!"' in kept


def test_a_text_that_two_pairs_share_is_made_once(tmp_path):
    store = Store(tmp_path / "cache")
    requests = asked("a", "b", "a", "a", numbers=(0, 1, 0))
    assert store.fill(Shout(tmp_path / "log"), requests) == [shouted(request) for request in requests]
    assert sorted(made(tmp_path / "log")) == ["a 0", "a 1", "b 0", "b 1"]
    assert store.made == 4


def test_one_pass_stores_all_that_it_makes(tmp_path):
    store, beams = Store(tmp_path / "cache"), Shout(tmp_path / "log", together=3, batch=6)
    assert [v.text for v in store.fill(beams, asked("a", "b", "c", numbers=(1,)))] == ["A!", "B!", "C!"]
    everything = asked("a", "b", "c", numbers=(2, 0, 1))
    assert store.fill(beams, everything) == [shouted(request) for request in everything]
    assert made(tmp_path / "log") == [f"{text} {n}" for text in "abc" for n in range(3)]
    assert (store.made, store.found) == (9, 9)


def test_a_row_deleted_by_hand_is_made_again(tmp_path):
    store, beams = Store(tmp_path), Shout(together=3, batch=6)
    requests = asked("a", "b", numbers=(0, 1, 2))
    store.fill(beams, requests)
    with closing(sqlite3.connect(store.path(beams), isolation_level=None)) as database:
        database.execute("DELETE FROM variants WHERE number = 1 AND parent = 'p0'")
    assert store.fill(beams, requests) == [shouted(request) for request in requests]


@pytest.mark.parametrize("ask", ["fill", "missing"])
def test_more_numbers_than_one_pass_returns_is_one_line(tmp_path, ask):
    with pytest.raises(ConfigError, match=r"pool\.width: variant 4 of a text is asked for, and shout returns 3"):
        getattr(Store(tmp_path), ask)(Shout(together=3), asked("a", numbers=(3,)))
    assert list(tmp_path.iterdir()) == []


def test_another_setting_is_another_file(tmp_path):
    store = Store(tmp_path)
    assert store.path(Shout(together=1)) != store.path(Shout(together=2))


def test_missing_counts_each_variant_once_and_writes_nothing(tmp_path):
    store = Store(tmp_path / "cache")
    requests = asked("a", "b", "a", numbers=(0, 1))
    assert store.missing(Shout(), requests) == requests[:4]
    assert not (tmp_path / "cache").exists()
    store.fill(Shout(), requests[1:3])
    assert store.missing(Shout(), requests) == [requests[0], requests[3]]


def test_an_interruption_loses_only_its_batch_and_leaves_no_claim(tmp_path):
    store, texts = Store(tmp_path / "cache"), [f"t{i}" for i in range(12)]
    with pytest.raises(KeyboardInterrupt):
        store.fill(Shout(tmp_path / "log", fail_at="t6"), asked(*texts))
    assert rows(store.path(Shout()), "SELECT owner FROM claims") == []
    assert store.made == 4
    store.fill(Shout(tmp_path / "log"), asked(*texts))
    assert made(tmp_path / "log") == [f"{text} 0" for text in texts]


def test_an_augmenter_that_returns_too_little_stores_nothing(tmp_path):
    class Short(Shout):
        def make(self, requests):
            return super().make(requests)[1:]

    with pytest.raises(UserError, match="shout: made 1 variants for 2 requests"):
        Store(tmp_path).fill(Short(), asked("a", "b"))
    assert len(Store(tmp_path).missing(Shout(), asked("a", "b"))) == 2


def fill_in_a_process(directory: Path, augmenter: Shout, texts: list[str], start, results) -> None:
    store = Store(directory / "cache")
    start.wait()
    texts_made = [variant.text for variant in store.fill(augmenter, asked(*texts))]
    results.put((texts_made, store.made))


def test_two_processes_make_each_variant_once_and_both_get_all(tmp_path):
    texts = [f"t{i}" for i in range(300)]
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(2), spawn.Queue()
    augmenter = Shout(tmp_path / "log", batch=8, pause=0.002)
    arguments = (tmp_path, augmenter, texts, start, results)
    processes = [spawn.Process(target=fill_in_a_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    (first, made_first), (second, made_second) = results.get(timeout=60), results.get(timeout=60)
    for process in processes:
        process.join()
    assert first == second == [text.upper() for text in texts]
    assert sorted(made(tmp_path / "log")) == sorted(f"{text} 0" for text in texts)
    assert made_first + made_second == 300
    assert min(made_first, made_second) > 0
    assert rows(Store(tmp_path / "cache").path(augmenter), "SELECT owner FROM claims") == []


def test_what_a_killed_process_had_claimed_is_free_at_once(tmp_path, caplog):
    texts = [f"t{i}" for i in range(12)]
    spawn = multiprocessing.get_context("spawn")
    stuck, start, results = Stuck(tmp_path / "log", fail_at="t6"), spawn.Barrier(1), spawn.Queue()
    process = spawn.Process(target=fill_in_a_process, args=(tmp_path, stuck, texts, start, results))
    process.start()
    while not (tmp_path / "log.stuck").exists():
        assert process.is_alive()
        time.sleep(0.02)
    store, path = Store(tmp_path / "cache"), Store(tmp_path / "cache").path(stuck)
    assert len(rows(path, "SELECT owner FROM claims")) == 1
    born = claims._born(process.pid)
    os.kill(process.pid, 9)
    while claims.runs(process.pid, born):  # killed and not yet reaped, its number still answers
        time.sleep(0.01)
    caplog.set_level(logging.INFO)
    assert [v.text for v in store.fill(Shout(tmp_path / "log"), asked(*texts))] == [text.upper() for text in texts]
    process.join()
    assert "waiting" not in caplog.text
    assert made(tmp_path / "log") == [f"{text} 0" for text in texts]  # the batch finished before the kill was kept
    assert (store.made, store.found) == (8, 4)


def test_threads_share_a_store(tmp_path):
    store, requests = Store(tmp_path / "cache"), asked(*[f"t{i}" for i in range(60)])
    augmenter, got = Shout(tmp_path / "log", pause=0.001), {}
    threads = [threading.Thread(target=lambda i=i: got.update({i: store.fill(augmenter, requests)})) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[i] for i in range(3)] == [[shouted(request) for request in requests]] * 3
    assert len(made(tmp_path / "log")) == store.made == 60


def claimed(store: Store, requests: Sequence[Request], host: str, expires: float, pid: int = 1) -> None:
    """A claim on the first variant of `requests` by somebody else."""
    store.fill(Shout(), requests)
    path = store.path(Shout())
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        [(key,)] = database.execute("SELECT key FROM variants WHERE parent = 'p0'").fetchall()
        database.execute("DELETE FROM variants")
        database.execute("INSERT INTO claims VALUES ('other', ?, ?, '', ?, ?)", (host, pid, expires, key))


def test_a_claim_on_another_machine_counts_until_its_lease_runs_out(tmp_path, caplog):
    store, requests = Store(tmp_path), asked("a", "b", "c")
    caplog.set_level(logging.INFO)
    claimed(store, requests, "elsewhere", time.time() - 1)
    store.fill(Shout(), requests)
    assert "waiting" not in caplog.text
    claimed(store, requests, "elsewhere", time.time() + 0.5)
    assert store.fill(Shout(), requests) == [shouted(request) for request in requests]
    assert [r.message for r in caplog.records if "waiting" in r.message] == [
        f"{store.path(Shout()).name}: waiting for variants that process 1 on elsewhere is making"
    ]


def test_a_slow_batch_keeps_its_lease(tmp_path):
    path, leases = Store(tmp_path).path(Shout()), []

    class Slow(Shout):
        def make(self, requests):
            for _ in range(2):
                time.sleep(0.2)
                leases.extend(rows(path, "SELECT expires FROM claims"))
            return super().make(requests)

    Store(tmp_path, lease=0.2).fill(Slow(), asked("a"))
    assert leases[0] < leases[1]


def test_where_two_made_the_same_the_first_counts(tmp_path):
    """A batch that outlived its lease: what is on disk is what both return."""
    store, requests = Store(tmp_path), asked("a", "b")

    class Overtaken(Shout):
        def make(self, requests):
            with closing(sqlite3.connect(store.path(self), isolation_level=None)) as database:
                database.execute("DELETE FROM claims")
            Store(tmp_path).fill(Shout(), requests)
            return [Variant("too late", "shout") for _ in requests]

    assert store.fill(Overtaken(), requests) == [shouted(request) for request in requests]


@pytest.mark.parametrize("damage", [b"no database at all" * 300, b""])
def test_a_damaged_file_is_moved_aside_and_an_empty_one_is_filled(tmp_path, damage, caplog):
    store, requests = Store(tmp_path), asked("a")
    store.path(Shout()).write_bytes(damage)
    assert store.fill(Shout(), requests) == [shouted(requests[0])]
    assert caplog.text.count("(variants are made again); it is now shout-") == bool(damage)


@pytest.mark.parametrize("tear", ["cut short", "zeros", "rows"])
def test_a_torn_file_is_filled_anew(tear, tmp_path, caplog):
    """Zeros that no query meets but an insertion does; rows that are no variants."""
    requests = asked(*[f"t{i}" * 100 for i in range(200)])
    Store(tmp_path).fill(Shout(batch=200), requests[:-1])
    path = Store(tmp_path).path(Shout())
    whole = path.read_bytes()
    if tear == "rows":
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("UPDATE variants SET parameters = '{'")
    else:
        path.write_bytes(whole[: len(whole) // 2] + (bytes(len(whole) // 2) if tear == "zeros" else b""))
    store = Store(tmp_path)
    assert store.fill(Shout(batch=200), requests) == [shouted(request) for request in requests]
    assert caplog.text.count("(variants are made again); it is now shout-") == 1
    assert Store(tmp_path).missing(Shout(), requests) == []


def test_a_directory_that_cannot_be_is_one_clear_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/cache: variants cannot be stored here"):
        Store(tmp_path / "file" / "cache").fill(Shout(), asked("a"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="every directory can be written")
def test_a_directory_that_cannot_be_written_can_be_read(tmp_path):
    store, requests = Store(tmp_path / "cache"), asked("a")
    variants = store.fill(Shout(), requests)
    store.path(Shout()).chmod(0o444)
    (tmp_path / "cache").chmod(0o555)
    assert store.fill(Shout(), requests) == variants
    with pytest.raises(UserError, match="may this user write it"):
        store.fill(Shout(), asked("b"))
    (tmp_path / "cache").chmod(0o755)


text = st.text(st.characters(), max_size=3)  # surrogates included


@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(st.lists(st.tuples(text, st.integers(0, 2)), max_size=6), max_size=4),
    together=st.sampled_from([1, 3]),
)
def test_any_order_and_any_parts_give_what_the_augmenter_makes(parts, together):
    augmenter = Shout(together=together, batch=5)
    with tempfile.TemporaryDirectory() as directory:
        for part in parts:
            requests = [request for source, number in part for request in asked(source, numbers=(number,))]
            store = Store(Path(directory))
            missing = store.missing(augmenter, requests)
            assert store.fill(augmenter, requests) == [shouted(request) for request in requests]
            assert store.made == (len(missing) if together == 1 else 3 * len({r.source for r in missing}))


def test_an_outcome_that_is_not_final_is_asked_for_again(tmp_path):
    """An endpoint that answers nothing today must not leave a hole in the pool for good."""
    answers = iter([Variant(None, "call", {"finish_reason": "empty"}, final=False), Variant("now", "call")])

    class Flaky:
        name, settings, together, batch = "flaky", {}, 1, 4

        def identity(self, request):
            return request.source

        def make(self, requests):
            return [next(answers) for _ in requests]

    asked = [Request(Pair("p0", (), "good", "bad"), "chosen", 0)]
    first, second, third = (Store(tmp_path).fill(Flaky(), asked)[0] for _ in range(3))
    assert (first.text, second.text, third) == (None, "now", second)
