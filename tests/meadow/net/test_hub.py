"""Names, and the errors of the client."""

import pytest
from support.faulty_server import FakeClock

from meadow.errors import NetworkError, UsageError
from meadow.net.hub import (
    HubClient,
    Reference,
    network_cause,
    parse_file_address,
    parse_reference,
)
from meadow.net.retry import RetryPolicy

SECRET = "hf_" + "a1B2" * 8


def test_names() -> None:
    assert parse_reference("o/n") == Reference("o/n", "main")
    assert parse_reference("hf://datasets/o/n@v1.0.0") == Reference("o/n", "v1.0.0")
    assert parse_reference("hf://o/n@refs%2Fpr%2F1").revision == "refs/pr/1"
    assert parse_reference("o/n@" + "a" * 40).pinned
    assert not parse_reference("o/n@v1").pinned
    parsed = parse_file_address("hf://datasets/o/n@refs%2Fconvert%2Fparquet/a/b c.json")
    assert parsed == Reference("o/n", "refs/convert/parquet", "a/b c.json")
    assert str(Reference("o/n", "v1", "a")) == "o/n@v1/a"


@pytest.mark.parametrize(
    "text",
    ["", "o", "o/n/m", "../n", "o/n@", "o/n@a b", "o/n@-x", "o/n@a..b", "https://x/y", "o/n@x\n"],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UsageError):
        parse_reference(text)


def make_client(fake: FakeClock) -> HubClient:
    return HubClient(fake.policy(RetryPolicy(tries=4)))


def test_passing_faults_are_tried_again_and_others_are_not() -> None:
    fake = FakeClock()
    answers: list[object] = [ConnectionResetError("reset"), TimeoutError(), 7]

    def act() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert make_client(fake).call("x", act) == 7
    assert fake.waits == [1, 2]
    answers[:] = [KeyError("a defect")]
    with pytest.raises(KeyError):
        make_client(fake).call("x", act)
    answers[:] = [ConnectionResetError(SECRET)] * 4
    with pytest.raises(NetworkError, match="given up after 4 tries") as error:
        make_client(fake).call("x", act)
    assert SECRET not in str(error.value)


def test_a_lost_answer_is_looked_for_before_another_try() -> None:
    tries = 0

    def act() -> str:
        nonlocal tries
        tries += 1
        raise ConnectionResetError

    assert make_client(FakeClock()).call_once("x", act, lambda: tries == 2) is None
    assert tries == 2


def test_the_request_behind_an_error_is_found_and_circles_end() -> None:
    inner, outer = ConnectionResetError("reset"), FileNotFoundError("nothing here")
    outer.__cause__ = inner
    assert network_cause(outer) is inner
    plain = ValueError("no")
    plain.__cause__ = KeyError("x")
    plain.__cause__.__cause__ = plain
    assert network_cause(plain) is None
