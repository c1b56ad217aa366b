"""A model behind an OpenAI-compatible URL, for repairs: asked once for each reply, then remembered.

One POST to `/chat/completions` is all that is needed, so this is the standard library: no client
to depend on, redirects refused (urllib would send the key along), and the size and time of a reply
are bounded here. The key comes from the environment (`KEY`) and goes into the header of a request,
nowhere else: not into records, errors or the cache. Off this machine prompts go by https only.
"""

import ipaddress
import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from trajnb.files import digest, write_json
from trajnb.world.trees import Ask, Draw, Said, Wanted

KEY = "TRAJNB_ENDPOINT_KEY"
"""The environment variable that holds the key."""
LARGEST = 2**20
"""Bytes of a reply; a call has hundreds."""
SHOWN = 300
"""Characters of what went wrong that an error shows."""
TRIES = 3
"""Of one request: for what may pass (429, 5xx, a connection that broke or hung)."""
LONGEST_WAIT = 30.0
"""Seconds between two tries, whatever `Retry-After` says."""
_PASSING = (408, 429, 500, 502, 503, 504)


class EndpointError(RuntimeError):
    """The endpoint gave no reply that can be used; the message says why, without the key."""


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked, and how."""

    url: str
    """The base, such as `http://127.0.0.1:8000/v1`."""
    model: str
    """By the name that the endpoint knows."""
    max_tokens: int = 256
    """Of a reply."""
    seconds: float = 120.0
    """That a reply may take, and again as many where it comes in pieces."""
    at_once: int = 4
    """Requests that are on their way together."""

    def __post_init__(self):
        for name in ("max_tokens", "at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give at least 1")
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ValueError(f"seconds is {self.seconds}: give how long a reply may take, above 0")
        if not self.model:
            raise ValueError("the endpoint needs a model: the name by which it knows one")
        # no error repeats the URL: who writes a key into it would find it in a log
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                "the endpoint's URL must look like https://host/v1 or http://127.0.0.1:8000/v1"
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "the endpoint's URL may hold no user, password, query or fragment, for it stands "
                f"in records: put the key into the environment variable {KEY}"
            )
        if parts.scheme == "http" and not self.is_here:
            raise ValueError(
                f"the endpoint {parts.hostname} is not this machine: use https, for prompts and "
                "key would travel in the open"
            )

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def asked_at(endpoint: Endpoint, cache: Path, *, seed: int, temperature: float) -> Ask:
    """The function that `world.repair` asks: every reply is one request, and what was once answered
    is read from `cache`, a file for each request by its hash.

    The first attempt has temperature 0; of the others each sends a seed of its own, which an
    endpoint may ignore.

    Raises:
        ValueError: at once, where the key is missing off this machine, or cannot be one.
        EndpointError: when asked, where a request fails; what was answered until then is kept.
    """
    key = _key(endpoint)

    def ask(wave: Sequence[Wanted]) -> list[list[Said]]:
        requests = []
        for state in wave:
            if not state.messages:
                raise ValueError("an endpoint is asked by the repairer `endpoint` alone")
            for draw in state.draws:
                requests.append(_request(endpoint, state.messages, draw, seed, temperature))
        names = [digest([endpoint.url, request]) for request in requests]
        found = _all_answered(endpoint, key, cache, dict(zip(names, requests, strict=True)))
        said = (found[name] for name in names)
        return [[next(said) for _ in state.draws] for state in wave]

    return ask


def check_key(endpoint: Endpoint) -> None:
    """Raise ValueError where the key is missing off this machine, or cannot be one."""
    _key(endpoint)


def _key(endpoint: Endpoint) -> str:
    key = os.environ.get(KEY, "").strip()
    if not key and not endpoint.is_here:
        raise ValueError(f"the endpoint is not this machine: put its key into {KEY}")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(f"what {KEY} holds is no key: letters, digits and signs on one line")
    return key


def _request(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, str]],
    draw: Draw,
    seed: int,
    temperature: float,
) -> dict:
    """The body of a request."""
    return {
        "model": endpoint.model,
        "messages": [dict(message) for message in messages],
        "max_tokens": endpoint.max_tokens,
        "temperature": 0.0 if draw.greedy else temperature,
        "seed": 0 if draw.greedy else draw.seed(seed) % 2**31,
    }


def _all_answered(
    endpoint: Endpoint, key: str, cache: Path, requests: Mapping[str, Mapping]
) -> dict[str, Said]:
    """The replies to requests, by their names; after an error those that wait are not sent."""
    with ThreadPoolExecutor(endpoint.at_once) as pool:
        waiting = {
            name: pool.submit(_answered, endpoint, key, cache / f"{name}.json", request)
            for name, request in requests.items()
        }
        try:
            return {name: one.result() for name, one in waiting.items()}
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _answered(endpoint: Endpoint, key: str, path: Path, request: Mapping) -> Said:
    """The reply to a request, from its file where that is there."""
    if path.is_file():
        kept = json.loads(path.read_text("utf-8"))
        return Said(kept["text"], kept["cut"])
    said = _try(endpoint, key, request)
    write_json(path, {"text": said.text, "cut": said.cut, "model": endpoint.model})
    return said


def _try(endpoint: Endpoint, key: str, request: Mapping) -> Said:
    """Ask until there is a reply, at most `TRIES` times."""
    for number in range(1, TRIES + 1):
        passing, wait, complaint = True, 2.0 ** (number - 1), ""
        try:
            return _said(_post(endpoint, key, request))
        except urllib.error.HTTPError as error:
            with error:
                passing = error.code in _PASSING
                wait = _retry_after(error.headers.get("Retry-After"), wait)
                complaint = f"status {error.code}{_hint(error.code)}: {_words(error)}"
        except TimeoutError:
            complaint = f"no whole reply in {endpoint.seconds:g} s"
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            complaint = f"{type(reason).__name__}: {reason}"
        except ValueError as error:
            passing, complaint = False, str(error)
        if not passing or number == TRIES:
            break
        time.sleep(wait)
    complaint = " ".join(complaint.split())
    complaint = (complaint.replace(key, "(the key)") if key else complaint)[:SHOWN]
    raise EndpointError(
        f"the endpoint {endpoint.url}, model {endpoint.model!r}, gave no reply after {number} "
        f"{'try' if number == 1 else 'tries'}: {complaint}. What it answered before is kept; run "
        "again when it does"
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the key is for the URL that was given, and so are the prompts."""

    def redirect_request(self, *_) -> None:
        return None


def _post(endpoint: Endpoint, key: str, request: Mapping) -> bytes:
    """The body of the reply."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    asked = urllib.request.Request(
        f"{endpoint.url.rstrip('/')}/chat/completions",
        data=json.dumps(request).encode(),
        headers=headers,
        method="POST",
    )
    proxies = [urllib.request.ProxyHandler({})] if endpoint.is_here else []
    opener = urllib.request.build_opener(_NoRedirect, *proxies)
    with opener.open(asked, timeout=endpoint.seconds) as response:
        return _read(response, time.monotonic() + endpoint.seconds)


def _read(response: HTTPResponse, until: float) -> bytes:
    """All of a body, or an error where it is too long or comes too slowly."""
    parts, size = [], 0
    while part := response.read1(2**16):
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise ValueError(f"the reply has more than {LARGEST} bytes")
        if time.monotonic() > until:
            raise TimeoutError
    if response.length:
        raise HTTPException("the connection broke within the reply")
    return b"".join(parts)


def _said(body: bytes) -> Said:
    """What the model says in a reply.

    Raises:
        ValueError: it is no reply of the protocol.
    """
    try:
        (choice, *_) = json.loads(body)["choices"]
        text = choice["message"]["content"]
        cut = choice.get("finish_reason") == "length"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        shown = body.decode("utf-8", "replace")
        raise ValueError(f"the reply is not that of a chat completion: {shown}") from None
    if text is not None and not isinstance(text, str):
        raise ValueError("the reply's content is no text")
    return Said(text or "", cut)


def _words(error: urllib.error.HTTPError) -> str:
    """What an error says."""
    try:
        return error.read(LARGEST).decode("utf-8", "replace")
    except (OSError, HTTPException):
        return ""


def _hint(status: int) -> str:
    if status in (401, 403):
        return f" (the key in {KEY} is missing or not accepted)"
    if 300 <= status < 400:
        return " (a redirect, which is not followed: give the URL that it leads to)"
    if status == 404:
        return " (the URL usually ends with /v1)"
    return ""


def _retry_after(said: str | None, otherwise: float) -> float:
    """Seconds to wait; a date, which the header may hold too, is not read."""
    try:
        wait = float(said or otherwise)
    except ValueError:
        return otherwise
    return min(max(wait, 0.0), LONGEST_WAIT) if math.isfinite(wait) else otherwise
