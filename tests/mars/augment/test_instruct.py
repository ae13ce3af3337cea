"""Claims about the instruct augmenter, against a real HTTP endpoint on this machine that can be told to misbehave."""

import _thread
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.endpoint import KEY, Answer, Server, failure, reply, serving
from transformers import AutoModelForCausalLM, GenerationConfig

from mars.augment.chat import Call, Chat, Patience
from mars.augment.chat_backends import LocalModel
from mars.augment.instruct import Instruct, InstructConfig, plain_reply
from mars.augment.variant import Request
from mars.config import ConfigError, UserError, build
from mars.pool.store import Store
from mars.preferences.dialogue import Message
from mars.preferences.pair import Pair
from mars.reward import tiny


def without_reason(message: dict[str, Any]) -> Answer:
    """The least an endpoint can say."""
    return Answer({"choices": [{"message": message}]})


JUNK = {  # replies that say nothing about the request, and the finish_reason they end up with
    "an empty reply": (reply(""), "empty"),
    "a blank reply": (reply(" \n"), "empty"),
    "content null": (reply(None), "empty"),
    "content null and no reason": (without_reason({"content": None}), "empty"),
    "no content": (without_reason({}), "empty"),
    "content in parts": (reply([{"type": "text", "text": "hello"}]), "empty"),  # type: ignore[arg-type]
    "eos_token without text": (reply("", "eos_token"), "empty"),
    "error": (reply("half a", "error"), "error"),
    "tool_calls": (reply(None, "tool_calls"), "tool_calls"),
    "tool_calls beside text": (reply("hello", "tool_calls"), "tool_calls"),
    "a reason of its own": (reply("hello", "gone\n" + "away" * 20), "gone " + "away" * 8 + "awa…"),
    "a reason that is none": (reply("hello", {"type": "stop"}), "{'type': 'stop'}"),  # type: ignore[arg-type]
}


def echo(body: dict[str, Any], _: int) -> Answer:
    """A rewrite that shows what was asked: the text between the tags, and the seed."""
    return reply(f"again: {asked(body)} ({body['seed']})")


def asked(body: dict[str, Any]) -> str:
    return body["messages"][0]["content"].rpartition("<text>\n")[2].partition("\n</text>")[0]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("openai", reason="the extra `instruct` is not installed")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        server.answer = echo
        yield server


@pytest.fixture
def instruct(server: Server, tmp_path: Path) -> Callable[..., Instruct]:
    def make(**settings: Any) -> Instruct:
        fast = {"model": "m", "base_url": server.url, "attempts": 3, "backoff": 0.001, "timeout": 10}
        return Instruct(build(InstructConfig, {**fast, **settings}, "augmenter"), tmp_path)

    return make


def pair(chosen: str = "Yes.", rejected: str = "No.") -> Pair:
    turns = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Is it so?"))
    return Pair("p", turns, chosen, rejected)


def requests(*texts: str, number: int = 0) -> list[Request]:
    return [Request(pair(text), "chosen", number) for text in texts]


def texts(augmenter: Instruct, asked: list[Request]) -> list[str | None]:
    return [variant.text for variant in augmenter.make(asked)]


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    line = str(error.value)
    assert "\n" not in line
    assert len(line) < 500
    assert KEY not in line
    return line


def no_good_reply_kept(tmp_path: Path, augmenter: Instruct, asked: list[Request]) -> bool:
    fresh = Instruct(augmenter.config, tmp_path)
    return fresh.calls(asked) == len(asked)


# ---- replies, order, cache


def test_each_request_gets_its_own_reply_in_order_and_is_paid_for_once(
    server: Server, instruct: Callable[..., Instruct]
) -> None:
    server.answer = lambda body, n: replace(echo(body, n), delay=0.05 if asked(body) == "slow" else 0.0)
    wanted = [*requests("slow", "b", "c", "b"), *requests("b", number=1)]
    augmenter = instruct()
    assert augmenter.calls(wanted) == 4
    first = texts(augmenter, wanted)
    assert [text and text.partition(" (")[0] for text in first] == ["again: slow", *(f"again: {c}" for c in "bcbb")]
    assert first[1] == first[3] != first[4]  # the same request once; another number is another seed
    assert len(server.bodies) == 4
    again = instruct()
    assert again.calls(wanted) == 0
    assert texts(again, wanted) == first
    assert len(server.bodies) == 4
    assert again.usage["calls"] == 0
    assert again.usage["cached"] == 5


def test_a_model_that_moved_to_another_address_is_not_asked_again(
    server: Server, instruct: Callable[..., Instruct]
) -> None:
    first = texts(instruct(), requests("a"))
    elsewhere = instruct(base_url="http://127.0.0.1:9/v1", timeout=1, concurrency=2, price_prompt=3)
    assert texts(elsewhere, requests("a")) == first
    assert elsewhere.settings == instruct().settings
    for other in ({"model": "n"}, {"seed": 1}, {"temperature": 0.1}, {"max_tokens": 9}, {"extra": {"top_p": 0.5}}):
        assert instruct(**other).calls(requests("a")) == 1
        assert instruct(**other).settings != instruct().settings


def test_the_request_says_what_the_settings_say(server: Server, instruct: Callable[..., Instruct]) -> None:
    augmenter = instruct(extra={"max_tokens": None, "max_completion_tokens": 99, "top_p": 0.5})
    augmenter.make([*requests("a"), *requests("a", number=1)])
    for body in server.bodies:
        del body["messages"]
    seeds = {body.pop("seed") for body in server.bodies}
    assert server.bodies == [{"model": "m", "temperature": 0.7, "max_completion_tokens": 99, "top_p": 0.5}] * 2
    assert len(seeds) == 2
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_to_refine_shows_both_replies_and_to_paraphrase_only_one(
    server: Server, instruct: Callable[..., Instruct]
) -> None:
    both = pair(chosen="GOOD-REPLY", rejected="BAD-REPLY")
    instruct().make([Request(both, "chosen", 0)])
    instruct().make([Request(both, "prompt", 0)])
    refine = instruct(task="refine", concurrency=1)
    refine.make([Request(both, "rejected", 0), Request(both, "chosen", 0)])
    chosen, prompt, *refined = [body["messages"][0]["content"] for body in server.bodies]
    assert "GOOD-REPLY" in chosen
    assert "BAD-REPLY" not in chosen
    assert "Is it so?" in chosen
    assert prompt.count("Is it so?") == 1  # as the text, no longer as context
    assert "REPLY" not in prompt
    assert all("GOOD-REPLY" in text and "BAD-REPLY" in text and "Is it so?" in text for text in refined)
    assert [asked(body) for body in server.bodies[2:]] == ["BAD-REPLY", "GOOD-REPLY"]
    assert [body["temperature"] for body in server.bodies] == [0.7, 0.7, 0.9, 0.8]
    with pytest.raises(ConfigError, match="not prompts"):
        refine.identity(Request(both, "prompt", 0))


def test_identity_is_all_the_model_is_shown_and_nothing_else(instruct: Callable[..., Instruct]) -> None:
    paraphrase, refine = instruct(), instruct(task="refine")
    a, b = pair("x", "y"), replace(pair("x", "z"), id="q")
    assert paraphrase.identity(Request(a, "chosen", 0)) == paraphrase.identity(Request(b, "chosen", 3))
    assert refine.identity(Request(a, "chosen", 0)) != refine.identity(Request(b, "chosen", 0))
    shorter = replace(a, prompt=a.prompt[-1:])
    assert paraphrase.identity(Request(a, "chosen", 0)) != paraphrase.identity(Request(shorter, "chosen", 0))


def test_text_no_wire_can_carry_goes_through(server: Server, instruct: Callable[..., Instruct]) -> None:
    server.answer = lambda *_: reply("lone \ud800 surrogate")
    wanted = requests("a \udcff b", "\x00")
    assert texts(instruct(), wanted) == texts(instruct(), wanted) == ["lone \ud800 surrogate"] * 2
    assert len(server.bodies) == 2


def test_a_blank_text_is_not_sent(server: Server, instruct: Callable[..., Instruct]) -> None:
    assert instruct().calls(requests(" \n")) == 0
    assert texts(instruct(), requests(" \n")) == [None]
    assert server.bodies == []


# ---- concurrency


def test_calls_overlap_up_to_the_limit(server: Server, instruct: Callable[..., Instruct]) -> None:
    server.answer = lambda body, n: replace(echo(body, n), delay=0.03)
    instruct(concurrency=3).make(requests(*map(str, range(12))))
    assert server.most == 3


def test_two_that_ask_the_same_at_once_go_on_with_one_reply(server: Server, instruct: Callable[..., Instruct]) -> None:
    both_asked = threading.Barrier(2, timeout=10)

    def answer(*_: Any) -> Answer:
        return reply(f"reply {both_asked.wait()}")

    server.answer = answer
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda augmenter: texts(augmenter, requests("a")), [instruct(), instruct()])
    assert len(server.bodies) == 2
    assert first == second == texts(instruct(), requests("a"))


# ---- the key


def test_the_key_is_sent_and_written_nowhere(
    server: Server, instruct: Callable[..., Instruct], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    augmenter = instruct()
    augmenter.make(requests("a"))
    server.answer = lambda *_: failure(401, f"Incorrect API key provided: {KEY}.")
    with pytest.raises(UserError) as error:
        augmenter.make(requests("b"))
    assert "***" in one_line(error)
    assert server.keys == [f"Bearer {KEY}"] * 2
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in path.read_bytes() for path in files)
    assert KEY not in caplog.text + repr(augmenter.settings) + repr(augmenter.config)


def test_the_key_comes_from_the_variable_that_is_named(
    server: Server, instruct: Callable[..., Instruct], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "other")
    instruct(api_key_env="OTHER_KEY").make(requests("a"))
    assert server.keys == ["Bearer other"]
    instruct(api_key_env="NOT_SET").make(requests("b"))  # a server of one's own asks for none
    server.answer = lambda *_: failure(401)
    with pytest.raises(UserError, match="NOT_SET: it is not set"):
        instruct(api_key_env="NOT_SET").make(requests("c"))
    assert not any(KEY in (key or "") for key in server.keys)


# ---- what is worth another attempt


@pytest.mark.parametrize(
    "hiccup",
    [
        failure(429, retry_after="0"),
        failure(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
        failure(429, retry_after="soon"),
        failure(500),
        failure(503),
        failure(408),
        Answer(b"<html>\nBad gateway", 200, {"content-type": "text/html"}),
        Answer(b'{"choices": [{"mess'),
        Answer({"object": "list"}),
        Answer({"choices": []}),
        Answer({"choices": [None]}),
        Answer(["choices"]),
        Answer({"error": {"message": "overloaded"}}),
        *(bad for bad, _ in JUNK.values()),
    ],
)
def test_a_hiccup_is_followed_by_another_attempt(
    server: Server, instruct: Callable[..., Instruct], hiccup: Answer
) -> None:
    server.answer = lambda body, times: hiccup if times == 0 else echo(body, times)
    augmenter = instruct()
    variants = texts(augmenter, requests("a", "b"))
    assert [text and text[:8] for text in variants] == ["again: a", "again: b"]
    assert augmenter.usage["calls"] == 4
    assert augmenter.usage["retries"] == 2


def test_retry_after_is_honoured(server: Server, instruct: Callable[..., Instruct]) -> None:
    times: list[float] = []

    def answer(body: dict[str, Any], n: int) -> Answer:
        times.append(time.monotonic())
        return failure(429, retry_after="1") if n == 0 else echo(body, n)

    server.answer = answer
    instruct().make(requests("a"))
    assert times[1] - times[0] >= 1


def test_waits_double_up_to_the_longest() -> None:
    patience = Patience(backoff=1.0, longest_wait=10.0)
    for attempt, most in enumerate((1, 2, 4, 8, 10, 10), 1):
        waits = [patience.wait(attempt, None) for _ in range(50)]
        assert most / 2 <= min(waits) < max(waits) <= most
        assert patience.wait(attempt, 30) >= 30


# ---- what is not


@pytest.mark.parametrize(
    ("bad", "calls", "line"),
    [
        (failure(429), 3, r"429.*3 times in a row \(lower augmenter.concurrency"),
        (failure(429, retry_after="3600"), 1, "asks to wait 3600 s, longer than longest_wait=60"),
        (failure(429, code="insufficient_quota"), 1, "account is spent"),
        (failure(500), 3, "500.*3 times in a row"),
        (failure(401), 1, "401.*OPENAI_API_KEY: its key was not accepted"),
        (failure(403), 1, "403.*OPENAI_API_KEY"),
        (failure(404, "no such model"), 1, 'no such model.*augmenter.model "m"'),
        (failure(400, "Unsupported parameter: 'max_tokens'"), 1, "max_tokens.*augmenter.extra"),
        (Answer(b"<html>\n\n<h1>Welcome", 200, {"content-type": "text/html"}), 3, "no JSON.*<html> <h1>Welcome.*/v1"),
        (Answer(b"<html>nginx", 404, {"content-type": "text/html"}), 1, "404.*augmenter.base_url"),
        (Answer({"error": "quota"}), 3, "without choices.*quota.*3 times in a row"),
    ],
)
def test_an_endpoint_that_fails_for_good_is_one_line(
    server: Server, instruct: Callable[..., Instruct], tmp_path: Path, bad: Answer, calls: int, line: str
) -> None:
    server.answer = lambda *_: bad
    augmenter = instruct()
    with pytest.raises(UserError, match=line) as error:
        augmenter.make(requests("a"))
    assert server.url in one_line(error)
    assert len(server.bodies) == augmenter.usage["calls"] == calls
    assert no_good_reply_kept(tmp_path, augmenter, requests("a"))


def test_an_endpoint_that_is_down_is_one_line(instruct: Callable[..., Instruct]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(UserError, match=f"127.0.0.1:{port}.*cannot be reached.*augmenter.base_url") as error:
        instruct(base_url=f"http://127.0.0.1:{port}/v1").make(requests("a", "b"))
    one_line(error)


def test_an_endpoint_that_is_too_slow_is_one_line(server: Server, instruct: Callable[..., Instruct]) -> None:
    server.answer = lambda body, n: replace(echo(body, n), delay=0.5)
    with pytest.raises(UserError, match=r"no answer within 0.1 s, 2 times in a row \(raise augmenter.timeout") as error:
        instruct(timeout=0.1, attempts=2).make(requests("a"))
    one_line(error)


@pytest.mark.parametrize(
    ("bad", "calls", "reason"),
    [
        (reply("cut of", "length"), 1, "length"),
        (reply("", "content_filter"), 1, "content_filter"),
        (reply(None, refusal="I can't"), 1, "refused"),
        *((bad, 3, reason) for bad, reason in JUNK.values()),
        (failure(400, code="content_filter"), 1, "content_filter"),
        (failure(400, code="context_length_exceeded"), 1, "context_length"),
        (failure(400, "This model's maximum context length is 4096 tokens"), 1, "context_length"),
    ],
)
def test_a_reply_that_is_none_gives_no_variant_and_is_not_kept(
    server: Server, instruct: Callable[..., Instruct], tmp_path: Path, bad: Answer, calls: int, reason: str
) -> None:
    server.answer = lambda body, n: bad if asked(body) == "bad" else echo(body, n)
    augmenter = instruct()
    variants = augmenter.make(requests("a", "bad", "b"))
    assert [variant.text is None for variant in variants] == [False, True, False]
    assert variants[1].parameters["finish_reason"] == reason
    assert variants[1].final == (calls == 1)  # what is not worth another attempt is known for good
    assert len(server.bodies) == calls + 2
    assert no_good_reply_kept(tmp_path, augmenter, requests("bad"))
    assert Instruct(augmenter.config, tmp_path).calls(requests("a", "b")) == 0


@pytest.mark.parametrize("reason", [None, "", "eos_token", "eos"])
def test_a_whole_reply_may_end_without_the_usual_reason(
    server: Server, instruct: Callable[..., Instruct], reason: str | None
) -> None:
    server.answer = lambda *_: reply("hello", reason)
    assert texts(instruct(), requests("a")) == ["hello"]
    server.answer = lambda *_: without_reason({"content": "another"})
    assert texts(instruct(), requests("a", "b")) == ["hello", "another"]
    assert len(server.bodies) == 2


# ---- an endpoint that gives no text at all


@pytest.mark.parametrize(("bad", "reason"), JUNK.values(), ids=JUNK)
def test_a_store_that_met_junk_is_filled_once_the_endpoint_is_well(
    server: Server, instruct: Callable[..., Instruct], tmp_path: Path, bad: Answer, reason: str
) -> None:
    augmenter, store, wanted = instruct(attempts=1), Store(tmp_path), requests(*map(str, range(8)))
    server.answer = lambda *_: bad
    assert [variant.text for variant in store.fill(augmenter, wanted[:2])] == [None] * 2
    with pytest.raises(UserError, match="not one text for 8 requests") as error:
        store.fill(augmenter, wanted)
    assert all(part in one_line(error) for part in (server.url, 'augmenter.model "m"', f'"{reason}"', "by hand"))
    server.answer = echo
    well = store.fill(augmenter, wanted)
    assert [(variant.text or "").partition(" (")[0] for variant in well] == [f"again: {i}" for i in range(8)]
    server.answer = lambda *_: bad
    assert store.fill(augmenter, wanted) == well
    assert len(server.bodies) == 2 + 8 + 8


def test_junk_stops_a_run_at_its_first_batch(server: Server, instruct: Callable[..., Instruct], tmp_path: Path) -> None:
    server.answer = lambda *_: without_reason({})
    with pytest.raises(UserError, match="not one text for 32 requests"):
        Store(tmp_path).fill(instruct(attempts=1), requests(*map(str, range(100))))
    assert len(server.bodies) == 32


def test_junk_stops_a_run_that_had_texts_before(server: Server, instruct: Callable[..., Instruct]) -> None:
    augmenter = instruct(attempts=1)
    augmenter.make(requests("a"))
    server.answer = lambda body, _: reply("fine" if asked(body) == "good" else None)
    bad = requests(*map(str, range(8)))
    assert texts(augmenter, [*bad, *requests("good")]) == [None] * 8 + ["fine"]
    assert texts(augmenter, [*bad[:7], *requests("", " ")]) == [None] * 9  # blank texts were not asked for
    with pytest.raises(UserError, match="not one text for 8 requests"):
        augmenter.make(bad)


@pytest.mark.parametrize(
    ("bad", "advice"),
    [
        (reply("cut of", "length"), 'often with finish_reason "length" .raise augmenter.max_tokens'),
        (reply(None, refusal="I can't"), '"refused" .choose another augmenter.model'),
        (failure(400, code="content_filter"), '"content_filter" .choose another augmenter.model'),
        (failure(400, code="context_length_exceeded"), '"context_length" .serve the model with a longer context'),
        (reply("<think>Hm, and never done"), '"no answer" .turn the model\'s thinking off'),
    ],
)
def test_a_model_that_never_has_a_text_is_one_line_and_one_that_had_some_may_lack_others(
    server: Server, instruct: Callable[..., Instruct], tmp_path: Path, bad: Answer, advice: str
) -> None:
    server.answer = lambda body, n: bad if asked(body).startswith("bad") else echo(body, n)
    bads = requests(*(f"bad {i}" for i in range(8)))
    with pytest.raises(UserError, match=advice) as error:
        instruct().make(bads)
    one_line(error)
    augmenter, store = instruct(), Store(tmp_path)
    store.fill(augmenter, requests("a"))
    first = store.fill(augmenter, bads)  # the semantic layer, say, asks once more for what it did not get
    assert [variant.text for variant in first] == [None] * 8
    sent = len(server.bodies)
    server.answer = echo
    assert [variant.text for variant in Store(tmp_path).fill(instruct(), bads)] == [None] * 8
    assert len(server.bodies) == sent  # known for good


def test_the_commonest_reason_is_the_one_that_is_told(server: Server, instruct: Callable[..., Instruct]) -> None:
    server.answer = lambda body, _: reply("", "length" if asked(body) in "012" else "error")
    with pytest.raises(UserError, match='8 requests, most often with finish_reason "error"'):
        instruct(attempts=1).make(requests(*map(str, range(8))))


def test_an_error_loses_nothing_that_was_paid_for(server: Server, instruct: Callable[..., Instruct]) -> None:
    both = threading.Barrier(2, timeout=10)

    def answer(body: dict[str, Any], times: int) -> Answer:
        if asked(body) in ("fails", "under way"):
            both.wait()  # the failure comes while the neighbour's reply is on its way
        return failure(401) if asked(body) == "fails" else replace(echo(body, times), delay=0.1)

    server.answer = answer
    wanted = requests("first", "fails", "under way", *map(str, range(20)))
    with pytest.raises(UserError, match="401"):
        instruct(concurrency=2).make(wanted)
    assert len(server.bodies) <= 5  # what was queued behind it is not sent
    server.answer = echo
    assert instruct().calls(requests("first", "under way")) == 0
    made = texts(instruct(), wanted)
    assert None not in made
    assert sum(asked(body) == "first" for body in server.bodies) == 1


def test_what_waits_for_another_attempt_gives_up_with_its_neighbour(
    server: Server, instruct: Callable[..., Instruct]
) -> None:
    server.answer = lambda body, _: failure(500) if asked(body) == "waits" else replace(failure(401), delay=0.3)
    with pytest.raises(UserError, match="401"):
        instruct(backoff=3.0).make(requests("waits", "fails"))
    assert [asked(body) for body in server.bodies].count("waits") == 1


def test_an_interruption_loses_nothing_that_was_paid_for(server: Server, instruct: Callable[..., Instruct]) -> None:
    def answer(body: dict[str, Any], times: int) -> Answer:
        if asked(body) == "1":
            _thread.interrupt_main()
        return replace(echo(body, times), delay=0.1)

    server.answer = answer
    wanted = requests(*map(str, range(20)))
    with pytest.raises(KeyboardInterrupt):
        instruct(concurrency=2).make(wanted)
    sent = len(server.bodies)
    assert sent < 20
    assert instruct().calls(wanted) == 20 - sent


def test_a_damaged_cache_is_one_line(instruct: Callable[..., Instruct], tmp_path: Path) -> None:
    (tmp_path / "replies.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"replies.sqlite.*move the file away"):
        instruct()


# ---- tokens and cost


def test_tokens_and_cost_are_those_paid_for(server: Server, instruct: Callable[..., Instruct]) -> None:
    server.answer = lambda body, n: reply("", "length") if asked(body) == "bad" else echo(body, n)
    augmenter = instruct(price_prompt=2.0, price_completion=8.0)
    augmenter.make(requests("a", "b", "bad"))
    augmenter.make(requests("a"))
    expected = {"calls": 3, "cached": 1, "retries": 0, "prompt_tokens": 300, "completion_tokens": 30, "uncounted": 0}
    assert augmenter.usage == {**expected, "cost": pytest.approx((300 * 2 + 30 * 8) / 1e6)}
    unpriced = instruct()
    unpriced.make(requests("c"))
    assert unpriced.usage["cost"] is None
    assert unpriced.usage["prompt_tokens"] == 100


def test_cost_is_unknown_where_a_reply_was_not_counted(server: Server, instruct: Callable[..., Instruct]) -> None:
    answer = reply("fine")
    del answer.body["usage"]
    server.answer = lambda *_: answer
    augmenter = instruct(price_prompt=2.0, price_completion=8.0)
    assert texts(augmenter, requests("a")) == ["fine"]
    assert augmenter.usage["cost"] is None
    assert augmenter.usage["uncounted"] == 1


# ---- reading a reply


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (" Fine words.\n", "Fine words."),
        ('"Fine words."', "Fine words."),
        ('"Fine," he said, "words."', '"Fine," he said, "words."'),
        ("“Fine words.”", "Fine words."),
        ("<text>\nFine words.\n</text>", "Fine words."),
        ("<think>\nHm.\n</think>\n\nFine words.", "Fine words."),
        ("<think>\nHm, and never done", ""),
        ("Here is a rewritten version of the reply:\n\nFine words.", "Fine words."),
        ("Sure! Here's the paraphrased text:\nFine words.", "Fine words."),
        ("Here is a list:\n- Fine words.", "Here is a list:\n- Fine words."),
        ("The new version: fine words.", "The new version: fine words."),
        ('""', '""'),
    ],
)
def test_what_models_put_around_an_answer_is_taken_off(said: str, read: str) -> None:
    assert plain_reply(said, "Other words.") == read


@pytest.mark.parametrize("source", ['"Quoted."', "Here is the revised version:\nText.", "<text>a</text>"])
def test_what_the_source_has_itself_stays(source: str) -> None:
    assert plain_reply(source, source) == source


# ---- settings


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "augmenter.model: is required"),
        ({"model": " "}, "augmenter.model: must name"),
        ({"model": "m", "concurrency": 0}, "augmenter.concurrency: must be at least 1"),
        ({"model": "m", "attempts": 0}, "augmenter.attempts: must be at least 1"),
        ({"model": "m", "timeout": 0}, "augmenter.timeout: must be above 0"),
        ({"model": "m", "temperature": 3}, "augmenter.temperature"),
        ({"model": "m", "price_prompt": -1}, "augmenter.price_prompt"),
        ({"model": "m", "base_url": "localhost:8000"}, "augmenter.base_url: must start with http"),
        ({"model": "m", "base_url": "http://me:secret@host/v1"}, "augmenter.base_url: must hold no credentials"),
        ({"model": "m", "api_key_env": KEY}, "augmenter.api_key_env: is the name of an environment variable"),
        ({"model": "m", "extra": {"stream": True}}, 'augmenter.extra: "stream" cannot be set'),
        ({"model": "m", "revision": "abc"}, "augmenter.revision"),
        ({"model": "m", "api_key": "x"}, "augmenter.api_key: no such setting"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as error:
        build(InstructConfig, settings, "augmenter")
    assert "secret" not in one_line(error)


def test_the_shipped_settings_are_those_of_the_class(compose: Callable[..., dict[str, Any]]) -> None:
    group = compose("augmenter=instruct")["augmenter"]
    assert group.pop("name") == "instruct"
    assert build(InstructConfig, group, "augmenter") == InstructConfig(model=group["model"])


# ---- a local model


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random causal model on disk that ends a reply after a dozen tokens or so."""
    path = tmp_path_factory.mktemp("local")
    tokenizer = tiny.byte_tokenizer()
    torch.manual_seed(0)
    config = tiny.random_config("qwen3", tokenizer)
    config.max_position_embeddings = 4096
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config = GenerationConfig(eos_token_id=list(range(4, 24)), pad_token_id=0, min_new_tokens=4)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def write_template(source: Path, target: Path, template: str) -> Path:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    (target / "chat_template.jinja").write_text(template)
    return target


def test_a_local_model_writes_what_seed_and_text_say_whatever_is_beside_them(local: Path, tmp_path: Path) -> None:
    config = InstructConfig(model=str(local), backend="local", max_tokens=200)
    wanted = [*requests("a", "b c", "d"), *requests("a", number=1)]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    augmenter = Instruct(config, tmp_path / "1")
    first = texts(augmenter, wanted)
    assert torch.equal(torch.get_rng_state(), state)  # a run's own chance is left alone
    assert None not in first
    assert len(set(first)) == 4
    alone = Instruct(config, tmp_path / "2")
    assert [texts(alone, [request])[0] for request in reversed(wanted)] == first[::-1]
    assert augmenter.usage["calls"] == 4
    assert augmenter.usage["completion_tokens"] > 4
    again = Instruct(config, tmp_path / "1")
    assert texts(again, wanted) == first
    assert again.usage["calls"] == 0


def test_a_local_model_is_named_by_its_weights(local: Path, tmp_path: Path) -> None:
    copy = write_template(local, tmp_path / "copy", "{{ messages[0].content }}")
    original, other = LocalModel(str(local)).identity, LocalModel(str(copy)).identity
    assert original.startswith("sha256:")
    assert original != other


def test_a_chat_template_is_used_where_there_is_one(local: Path, tmp_path: Path) -> None:
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<bot>"
    template += "{% endif %}"
    copy = write_template(local, tmp_path / "copy", template)
    call = Call([{"role": "user", "content": "Hi"}], max_tokens=4)
    assert LocalModel(str(copy)).send(call).prompt_tokens == len("<user>Hi<bot>")
    assert LocalModel(str(local)).send(call).prompt_tokens == len("Human: Hi\n\nAssistant:")


def test_a_local_reply_that_does_not_end_or_fit_is_no_variant(local: Path, tmp_path: Path) -> None:
    config = InstructConfig(model=str(local), backend="local", max_tokens=4, temperature=0.0)
    variants = Instruct(config, tmp_path / "cut").make(requests("a"))
    assert variants[0].text is None
    assert variants[0].parameters["finish_reason"] == "length"
    small = write_template(local, tmp_path / "small", "")
    settings = json.loads((small / "tokenizer_config.json").read_text())
    (small / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 50}))
    variants = Instruct(replace(config, model=str(small)), tmp_path / "long").make(requests("long " * 50))
    assert variants[0].parameters["finish_reason"] == "context_length"


def test_a_local_model_without_a_text_is_asked_once_and_stops_no_run(local: Path, tmp_path: Path) -> None:
    mute = tmp_path / "mute"
    model = AutoModelForCausalLM.from_pretrained(local)
    model.generation_config = GenerationConfig(eos_token_id=list(range(model.config.vocab_size)), pad_token_id=0)
    model.save_pretrained(mute)
    tiny.byte_tokenizer().save_pretrained(mute)
    config = InstructConfig(model=str(mute), backend="local", max_tokens=4)
    augmenter = Instruct(config, tmp_path)
    variants = augmenter.make(requests(*map(str, range(8))))
    assert {(variant.text, variant.parameters["finish_reason"]) for variant in variants} == {(None, "empty")}
    assert augmenter.usage["calls"] == 8


def test_the_random_model_works_and_temperature_0_is_greedy(tmp_path: Path) -> None:
    chat = Chat(LocalModel("random:qwen3"), tmp_path, Patience())
    messages = [{"role": "user", "content": "Hi"}]
    greedy = [chat.complete(messages, temperature=0.0, max_tokens=8, seed=seed).text for seed in range(3)]
    sampled = [chat.complete(messages, temperature=1.0, max_tokens=8, seed=seed).text for seed in range(3)]
    assert len(set(greedy)) == 1
    assert len(set(sampled)) == 3


@pytest.mark.parametrize("source", ["nobody/no-such-model", "random:nothing"])
def test_a_local_model_that_is_not_there_is_one_line(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigError) as error:
        Instruct(InstructConfig(model=source, backend="local"), tmp_path)
    one_line(error)
