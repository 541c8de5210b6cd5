"""OpenAI-compatible servers as a backend: what they can do is probed before anything is scored.

Letters come from the first generated token's `logprobs`; a letter that is not among the server's
top tokens is censored (NaN), never a number. Longer continuations need the log-probabilities of the
prompt (`echo`), which many servers accept and do not return: a probe scores a known string and
counts the entries, and text modes are refused where they do not add up. Nothing is ever scored at
chance in silence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx

from evaluation.backend import Batches, Response, Sampling
from evaluation.modes import GENERATED, kinds_of
from evaluation.questions import Part, Unit
from evaluation.trie import Score
from meadow.chat.client import check_remote, environment_key
from meadow.errors import NetworkError, RefusedError, UsageError
from meadow.net.http import is_loopback, plain_address
from meadow.net.redaction import redact, without_values
from meadow.net.retry import RETRY_STATUS, RetryPolicy, TryAgain, broken, parse_retry_after

PROBE = "The answer to the question is: A"
TOP = 20
"""Tokens whose log-probability a letter question asks for."""
WORKERS = 4
TIMEOUT = 300.0
POLICY = RetryPolicy(tries=5, first_wait=0.5, longest_wait=30.0)
MISSING = Score(math.nan, False, 1)


class HttpBackend:
    """One model behind one or several servers that share the work."""

    limit: int | None = None
    tokenizer: Any = None

    def __init__(
        self,
        urls: Sequence[str],  # base URLs, with or without /v1
        model: str,  # the name that the servers know the model by
        *,
        chat: bool = False,  # whether responses come over chat completions
        # what the server's chat template is told of thinking; None: nothing
        thinking: bool | None = None,
        policy: RetryPolicy = POLICY,  # tries and waits of a request
    ) -> None:
        if not urls:
            raise UsageError("no server", fix="--base-url http://HOST:PORT/v1")
        plain = [plain_address(url, "--base-url") for url in urls]
        self.urls = [url.rstrip("/").removesuffix("/v1") + "/v1" for url in plain]
        self.model = model
        self.chat = chat
        self.thinking = thinking
        if chat:
            self.tokenizer = SERVED
        self.together = WORKERS * len(self.urls)
        self.client = _client(self.urls)
        self.policy = policy
        self.requests = 0
        self.faults = 0
        self.censored = 0
        self.has_letters = False
        self.has_echo = False
        self._turn = count()

    def describe(self) -> dict[str, Any]:
        """The model's name; servers do not tell weights."""
        return {"name": self.model, "backend": "openai", "chat": self.chat}

    def work(self) -> dict[str, Any]:
        """Requests made, and what the servers could do."""
        return {
            "servers": [urlsplit(url)._replace(query="").netloc.rpartition("@")[2]
                        for url in self.urls],
            "requests": self.requests,
            "retries": self.faults,
            "censored": self.censored,
            "letter_logprobs": self.has_letters,
            "prompt_logprobs": self.has_echo,
        }  # fmt: skip

    def count(self, text: str) -> int:
        """Not known here."""
        return 0

    def probe(self, modes: Sequence[str]) -> None:
        """Find out what every server does, and refuse modes that it cannot do.

        Raises:
            RefusedError: A mode needs log-probabilities that a server does not give.
        """
        kinds = kinds_of(modes)
        if not kinds:
            return
        self.has_letters = all(self._gives_letters(url) for url in self.urls)
        self.has_echo = all(self._gives_prompt(url) for url in self.urls)
        if self.has_echo or (self.has_letters and kinds == ["letter"]):
            return
        instead = ", ".join(GENERATED) + (" or letter" if self.has_letters else "")
        longer = ", ".join(kind for kind in kinds if kind != "letter")
        raise RefusedError(
            f"mode {longer} needs log-probabilities of the prompt, and the server returns none "
            "(echo with logprobs)"
            if longer
            else "mode letter needs log-probabilities, and the server answers without them",
            where=", ".join(self.urls),
            fix=f"use modes {instead}, or a server with prompt log-probabilities",
        )

    def _gives_letters(self, url: str) -> bool:
        """Whether the first generated token comes with its alternatives."""
        body = {"prompt": PROBE[:-2], "max_tokens": 1, "logprobs": TOP}
        return len(_top(self._post(url, "completions", body, probing=True))) > 1

    def _gives_prompt(self, url: str) -> bool:
        """Whether the entries of an echoed prompt are its tokens, with numbers."""
        body = {"prompt": PROBE, "max_tokens": 1, "echo": True, "logprobs": 1}
        logprobs, ends = _echoed(self._post(url, "completions", body, probing=True), PROBE)
        known = [value for value in logprobs[1:] if isinstance(value, int | float)]
        return len(logprobs) > 2 and len(known) == len(logprobs) - 1 and ends[-1] == len(PROBE)

    def plan(self, units: Sequence[Unit], *, cut_left: bool) -> Batches:
        """A few items per batch, so that the journal stays close behind."""
        if cut_left:
            raise UsageError("a server cannot cut by tokens", fix="--cut stem")
        size = WORKERS * len(self.urls)
        members = [
            tuple(range(start, min(start + size, len(units))))
            for start in range(0, len(units), size)
        ]
        return Batches(units, members)

    def score(self, batches: Batches, index: int) -> list[list[list[Score]]]:
        """All continuations of a batch, some at a time."""
        members = batches.members[index]
        jobs = [(m, p) for m in members for p in range(len(batches.units[m].parts))]
        results = self._each(lambda job: self._part(batches.units[job[0]].parts[job[1]]), jobs)
        found = dict(zip(jobs, results, strict=True))
        return [[found[m, p] for p in range(len(batches.units[m].parts))] for m in members]

    def _part(self, part: Part) -> list[Score]:
        if self.has_echo:
            return [self._continuation(part.context, text) for text in part.texts]
        return self._letters(part)

    def _letters(self, part: Part) -> list[Score]:
        """One request for all letters: the distribution of the first token."""
        body = {"prompt": part.context, "max_tokens": 1, "logprobs": TOP, "temperature": 0}
        top = _top(self._post(self._next(), "completions", body))
        best = max(top.values(), default=math.nan)
        scores = []
        for text in part.texts:
            # the token of " A"; servers give its text with the space, or with a mark for it
            value = next((top[form] for form in (text, "▁" + text[1:], "Ġ" + text[1:])
                          if form in top), None)  # fmt: skip
            if value is None:
                self.censored += 1
                scores.append(MISSING)
            else:
                scores.append(Score(value, value >= best, 1))
        return scores

    def _continuation(self, context: str, text: str) -> Score:
        # one token is asked for, since some servers refuse none; it is beyond the prompt's end
        body = {"prompt": context + text, "max_tokens": 1, "echo": True, "logprobs": 1}
        answer = self._post(self._next(), "completions", body)
        logprobs, ends = _echoed(answer, context + text)
        values = [v for v, end in zip(logprobs, ends, strict=True) if end > len(context)]
        if not values or any(not isinstance(value, int | float) for value in values):
            self.censored += 1
            return MISSING
        return Score(math.fsum(float(value) for value in values), False, len(values))

    def generate(self, prompts: Sequence[str], samplings: Sequence[Sampling]) -> list[Response]:
        """Responses in the order of the prompts."""
        return self._each(
            lambda pair: self._response(*pair), list(zip(prompts, samplings, strict=True))
        )

    def _response(self, prompt: str, sampling: Sampling) -> Response:
        body: dict[str, Any] = {
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed % 2**31,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if self.chat:
            body["messages"] = [{"role": "user", "content": prompt.strip()}]
            if self.thinking is not None:
                body["chat_template_kwargs"] = {"enable_thinking": self.thinking}
            answer = self._post(self._next(), "chat/completions", body)
            message = _choice(answer).get("message")
            text = _said(message if isinstance(message, dict) else {})
        else:
            answer = self._post(self._next(), "completions", {**body, "prompt": prompt})
            text = _text(_choice(answer).get("text"))
        if not _choice(answer):  # an empty response would be scored, and this is none
            raise NetworkError(
                "the server sent no completion", where=self.urls[0], fix="see what its log says"
            )
        for stop in sampling.stop:  # not every server knows stop texts
            text = text.partition(stop)[0]
        return Response(text, _choice(answer).get("finish_reason") == "length")

    def _each(self, work: Callable[[Any], Any], jobs: Sequence[Any]) -> list[Any]:
        with ThreadPoolExecutor(WORKERS * len(self.urls)) as pool:
            return list(pool.map(work, jobs))

    def _next(self) -> str:
        return self.urls[next(self._turn) % len(self.urls)]

    def _post(self, url: str, path: str, body: dict[str, Any], *, probing: bool = False) -> Any:
        """One request, sent again after overload and broken connections.

        A probe takes an error of the server for "not supported": {}.
        """
        address = f"{url}/{path}"
        # a probe asks for what a server may not know, which some answer with 500
        busy = RETRY_STATUS - {500} if probing else RETRY_STATUS

        def send() -> httpx.Response:
            self.requests += 1
            try:
                response = self.client.post(address, json={"model": self.model, **body})
            except httpx.TransportError as error:
                self.faults += 1
                raise broken(error) from error
            if response.status_code in busy:
                self.faults += 1
                asked = parse_retry_after(response.headers.get("retry-after"))
                raise TryAgain(f"status {response.status_code}", retry_after=asked)
            return response

        fix = "check that it runs; the journal keeps what was scored"
        response = self.policy.call(url, send, fix=fix)
        if response.is_redirect:
            raise NetworkError(
                f"the server redirects (status {response.status_code}), which is not followed",
                where=address,
                fix="give the address that it redirects to, if that is where the texts may go",
            )
        if response.status_code >= 400:
            if probing:
                return {}
            said = redact(response.text)[:200]
            raise NetworkError(
                f"the server refused: status {response.status_code} {said}",
                where=address,
                fix="check the model's name (--model) and that the route exists (--chat)",
            )
        try:
            # a server that repeats the key must not bring it into the journal
            return json.loads(without_values(response.text))
        except (ValueError, RecursionError) as error:
            raise NetworkError("the server sent no JSON", where=address) from error


def _client(urls: Sequence[str]) -> httpx.Client:
    """A client with the key of the environment, which goes to the named servers alone.

    Raises:
        RefusedError: An address elsewhere is not https: texts and key would go in clear text.
    """
    for url in urls:
        check_remote(url, allow_remote=True)  # whether they may go at all, the caller has asked
    key = environment_key()
    return httpx.Client(
        timeout=TIMEOUT,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        follow_redirects=False,
        # no proxy for what is on this machine
        trust_env=not all(is_loopback(urlsplit(url).hostname) for url in urls),
    )


def _choice(answer: Any) -> dict[str, Any]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else {}
    return first if isinstance(first, dict) else {}


def _text(value: Any) -> str:
    """A response as text that can be written as UTF-8; "" where the server gave none."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


_USERS_TEXT = "{{ messages[0]['content'] }}\n\n"
SERVED = SimpleNamespace(
    chat_template=_USERS_TEXT,
    get_chat_template=lambda: _USERS_TEXT,
    apply_chat_template=lambda turns, **_: f"{turns[0]['content']}\n\n",
)
"""Stands for the chat template of a server, which frames the user's text itself."""


def _said(message: dict[str, Any]) -> str:
    """A chat message as one text, with the thinking that a server took apart marked again."""
    thought = _text(message.get("reasoning_content") or message.get("reasoning"))
    content = _text(message.get("content"))
    return f"<think>{thought}{'</think>' if content else ''}{content}" if thought else content


def _top(answer: Any) -> dict[str, float]:
    """The first token's alternatives; {} where the server gave none."""
    block = _choice(answer).get("logprobs") or {}
    lists = block.get("top_logprobs") if isinstance(block, dict) else None
    first = lists[0] if isinstance(lists, list) and lists else {}
    if not isinstance(first, dict):
        return {}
    return {str(k): float(v) for k, v in first.items() if isinstance(v, int | float)}


def _echoed(answer: Any, prompt: str) -> tuple[list[Any], list[int]]:
    """(log-probabilities, end of each token in the prompt) of an echoed prompt.

    A token that the server puts in front (BOS, as text or as nothing) shifts the rest. Where the
    tokens' texts do not make up the prompt, the server's own offsets are taken; without any, there
    is nothing to go by.
    """
    block = _choice(answer).get("logprobs") or {}
    if not isinstance(block, dict):
        return [], []
    tokens = [str(token) for token in block.get("tokens") or []]
    logprobs = list(block.get("token_logprobs") or [])
    if len(tokens) != len(logprobs):
        return [], []
    joined = "".join(tokens)
    shift = joined.find(prompt)
    if shift >= 0:
        ends, place = [], -shift
        for token in tokens:
            place += len(token)
            ends.append(place)
    else:
        offsets = block.get("text_offset")
        if not isinstance(offsets, list) or len(offsets) != len(tokens):
            return [], []
        starts = [int(offset) for offset in offsets]
        ends = [*starts[1:], max(len(prompt), starts[-1] + 1)]
    inside = sum(end <= len(prompt) for end in ends)  # what follows was generated
    return logprobs[:inside], ends[:inside]
