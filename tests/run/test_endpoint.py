"""A repairer behind a URL: a stand-in for what goes wrong, and the real `transformers serve`."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trajnb.formatting.conditions import History
from trajnb.run import endpoint as endpoints
from trajnb.run.endpoint import KEY, Endpoint, EndpointError, asked_at
from trajnb.world.trees import Draw, Said, Wanted

SECRET = "sk-very/secret+key"
HISTORY = History((), (), 1)


@dataclass
class Stub:
    """What the stand-in says, and what it was asked."""

    answers: list = field(default_factory=list)
    """Of each request in turn (status, headers, body); when they are used up, `say`."""
    asked: list[tuple[str, dict, dict]] = field(default_factory=list)
    """Path, headers and body of each request."""
    hang: threading.Event | None = None
    url: str = ""

    @staticmethod
    def say(request: dict) -> bytes:
        text = f"echo {request['messages'][-1]['content']} {request['seed']}"
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return json.dumps({"choices": [choice]}).encode()


@contextmanager
def serve():
    stub = Stub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": stub}))
    stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield stub
    finally:
        if stub.hang:
            stub.hang.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    stub: Stub

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.stub.asked.append((self.path, dict(self.headers), body))
        if self.stub.hang:
            self.stub.hang.wait(20)
        status, headers, said = 200, {}, None
        if self.stub.answers:
            status, headers, said = self.stub.answers.pop(0)
        said = Stub.say(body) if said is None else said
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(said))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST

    def log_message(self, *args):
        pass


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.setattr(endpoints.time, "sleep", lambda seconds: None)
    with serve() as stub:
        yield stub


def wanted(*texts, index=0):
    return [
        Wanted(
            f"d#{number}",
            HISTORY,
            (Draw(f"d#{number}", (), index),),
            messages=({"role": "user", "content": text},),
        )
        for number, text in enumerate(texts)
    ]


def asks(stub, cache, **more):
    return asked_at(Endpoint(stub.url, "m", **more), cache, seed=0, temperature=0.7)


def test_a_request_is_what_the_protocol_wants_and_the_key_is_in_its_header(stub, tmp_path):
    said = asks(stub, tmp_path)(wanted("ü\n", "b", "c"))
    assert said == [[Said("echo ü\n 0")], [Said("echo b 0")], [Said("echo c 0")]], "in their order"
    asks(stub, tmp_path)(wanted("b", index=1))
    path, headers, body = stub.asked[-1]
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {SECRET}"
    assert set(body) == {"model", "messages", "max_tokens", "temperature", "seed"}
    assert body["temperature"] == 0.7 and 0 < body["seed"] < 2**31
    assert {body["temperature"] for _, _, body in stub.asked[:3]} == {0.0}


def test_what_was_answered_is_not_asked_again(stub, tmp_path):
    first = asks(stub, tmp_path)(wanted("a", "b"))
    assert len(stub.asked) == 2 and asks(stub, tmp_path)(wanted("a", "b")) == first
    assert asks(stub, tmp_path)(wanted("b")) == first[1:] and len(stub.asked) == 2
    asks(stub, tmp_path)(wanted("a", index=1))
    asks(stub, tmp_path, max_tokens=7)(wanted("a"))
    assert len(stub.asked) == 4, "another request"
    same = [*wanted("x"), *wanted("x")]
    assert asks(stub, tmp_path)(same)[0] == asks(stub, tmp_path)(same)[1] and len(stub.asked) == 5
    texts = [path.read_text() for path in tmp_path.iterdir()]
    assert len(texts) == 5 and not any(SECRET in text for text in texts)
    assert SECRET not in repr(Endpoint(stub.url, "m"))


def test_a_reply_that_was_cut_says_so(stub, tmp_path):
    choice = {"message": {"content": "[ls("}, "finish_reason": "length"}
    stub.answers = [(200, {}, json.dumps({"choices": [choice]}).encode())]
    for _ in range(2):
        assert asks(stub, tmp_path)(wanted("a")) == [[Said("[ls(", cut=True)]]


@pytest.mark.parametrize(
    "answer, message, tries",
    [
        ((401, {}, SECRET.encode()), f"status 401 .the key in {KEY} is missing or not", 1),
        ((403, {}, b""), "status 403", 1),
        ((404, {}, b""), "status 404 .the URL usually ends with /v1", 1),
        ((422, {}, b'{"detail": "unknown field"}'), "status 422: .*unknown field", 1),
        ((429, {"Retry-After": "1e9"}, b"slowly"), "status 429: slowly", 3),
        ((500, {"Retry-After": "soon"}, b"<html>"), "status 500: <html>", 3),
        ((503, {"Retry-After": "nan"}, b""), "status 503", 3),
        ((200, {}, b'{"choices": [{"mess'), "not that of a chat completion: {.choices", 1),
        ((200, {}, b"[" * 100_000), "not that of a chat completion", 1),
        ((200, {}, b'{"choices": []}'), "not that of a chat completion", 1),
        ((200, {}, b'{"choices": [{"message": {"content": 3}}]}'), "content is no text", 1),
        ((200, {}, b"x" * (2**20 + 9)), "more than 1048576 bytes", 1),
        ((200, {"Content-Length": "99"}, b"{}"), "no whole reply|connection broke", 3),
        ((200, {}, f"{'x' * 280}{SECRET}".encode()), "x .*not that|not that", 1),
        ((302, {"Location": "/v1/elsewhere"}, b""), "status 302 .a redirect, which is not", 1),
    ],
)
def test_a_request_that_fails_is_an_error(stub, tmp_path, answer, message, tries):
    stub.answers = [answer] * 3
    with pytest.raises(EndpointError, match=message) as caught:
        asks(stub, tmp_path, seconds=1)(wanted("a"))
    assert len(stub.asked) == tries and list(tmp_path.iterdir()) == []
    text = str(caught.value)
    assert "sk-" not in text and len(text) < 600, "neither the key nor a part of it"
    stub.answers = []
    assert asks(stub, tmp_path)(wanted("a")), "and asked again when it works"


def test_what_passes_is_tried_again(stub, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(endpoints.time, "sleep", waits.append)
    stub.answers = [(429, {"Retry-After": "7"}, b""), (500, {}, b"")]
    assert asks(stub, tmp_path)(wanted("a")) == [[Said("echo a 0")]]
    assert waits == [7.0, 2.0] and len(stub.asked) == 3


def test_what_was_answered_before_an_error_is_kept(stub, tmp_path):
    stub.answers = [(200, {}, None), (401, {}, b"")]
    with pytest.raises(EndpointError):
        asks(stub, tmp_path, at_once=1)(wanted(*"abcdefghi"))
    asked = len(stub.asked)
    assert asked < 9, "those that waited were not sent"
    assert len(list(tmp_path.iterdir())) == asked - 1
    asks(stub, tmp_path)(wanted("a"))
    assert len(stub.asked) == asked


def test_an_endpoint_that_hangs_or_is_not_there_is_an_error(stub, tmp_path):
    stub.hang = threading.Event()
    start = time.monotonic()
    with pytest.raises(EndpointError, match="after 3 tries: no whole reply in 0.2 s"):
        asks(stub, tmp_path, seconds=0.2)(wanted("a"))
    assert time.monotonic() - start < 10
    nowhere = Endpoint("http://127.0.0.1:9/v1", "m")
    with pytest.raises(EndpointError, match="ConnectionRefusedError"):
        asked_at(nowhere, tmp_path, seed=0, temperature=0.7)(wanted("a"))


def test_key_and_prompts_do_not_follow_a_redirect(stub, tmp_path):
    with serve() as other:
        stub.answers = [(307, {"Location": f"{other.url}/chat/completions"}, b"")]
        with pytest.raises(EndpointError, match="a redirect, which is not followed"):
            asks(stub, tmp_path)(wanted("a"))
        assert other.asked == []


def test_a_proxy_is_not_asked_for_this_machine(stub, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert asks(stub, tmp_path)(wanted("a"))


@pytest.mark.parametrize(
    "url, message",
    [
        ("http://example.com/v1", "example.com is not this machine: use https"),
        ("http://localhost.example.com/v1", "not this machine"),
        ("http://10.0.0.1/v1", "not this machine"),
        ("http://127.0.0.1@example.com/v1", "no user, password, query"),
        (f"https://me:{SECRET.replace('/', '')}@example.com/v1", "no user, password, query"),
        ("https://example.com/v1?key=sk-1", "no user, password, query or fragment"),
        ("example.com/v1", "must look like https://"),
        ("file:///etc/passwd", "must look like https://"),
        ("", "must look like https://"),
    ],
)
def test_a_url_that_may_not_be_is_named_without_a_key_in_it(url, message):
    with pytest.raises(ValueError, match=message) as caught:
        Endpoint(url, "m")
    assert "sk-" not in str(caught.value)


def test_off_this_machine_a_key_is_needed(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(ValueError, match=f"not this machine: put its key into {KEY}"):
        asked_at(Endpoint("https://example.com/v1", "m"), tmp_path, seed=0, temperature=1)
    for url in ("http://localhost:8000/v1", "http://127.0.0.1:8000", "http://[::1]:8000/v1"):
        assert Endpoint(url, "m").is_here and asked_at(
            Endpoint(url, "m"), tmp_path, seed=0, temperature=1
        )
    for key in ("sk-a\nHost: x", "sk-ü", "sk-a b"):
        monkeypatch.setenv(KEY, key)
        with pytest.raises(ValueError, match="is no key") as caught:
            asked_at(Endpoint("https://example.com/v1", "m"), tmp_path, seed=0, temperature=1)
        assert "sk-" not in str(caught.value)


def test_what_cannot_be_an_endpoint_is_named(stub, tmp_path):
    for wrong, message in (
        ({"model": ""}, "needs a model"),
        ({"model": "m", "max_tokens": 0}, "max_tokens is 0"),
        ({"model": "m", "at_once": 0}, "at_once is 0"),
        ({"model": "m", "seconds": float("nan")}, "seconds is nan"),
    ):
        with pytest.raises(ValueError, match=message):
            Endpoint(stub.url, **wrong)
    with pytest.raises(ValueError, match="by the repairer `endpoint` alone"):
        asks(stub, tmp_path)([Wanted("d#0", HISTORY, (Draw("d#0", (), 0),))])


@contextmanager
def transformers_serve(model):
    """The base URL of the real server, on a free port of this machine."""
    for name in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(name, reason="needs the extra `serve`: pip install -e '.[serve]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environ = os.environ | {"HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def _wait_for(url, process, seconds=300):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, "transformers serve ended by itself"
        try:
            opener.open(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"transformers serve does not answer within {seconds} s")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny", "qwen2.5-coder-0.5b"])
def test_a_candidate_is_repaired_by_the_real_server(model, tmp_path, monkeypatch):
    """With the tiny model what it says is nonsense, but it is said, carried out and judged."""
    from trajnb.assets import AssetError
    from trajnb.corpora.bfcl import scenarios
    from trajnb.corpora.load import load_corpus
    from trajnb.qlora.model import find_model
    from trajnb.world.candidates import Sampling, sample_candidates
    from trajnb.world.repair import Repairing, repair_candidates, to_line
    from trajnb.world.sandbox import Sandbox
    from trajnb.world.turns import turn_tasks

    monkeypatch.delenv(KEY, raising=False)
    try:
        folder = str(find_model(model).folder)
        corpus = load_corpus("sample")
        tasks = turn_tasks(corpus.dialogues[:1], scenarios())[:2]
    except (AssetError, ValueError) as error:
        pytest.skip(f"not to be had: {error}")

    def runs(sandbox, url):
        where = Endpoint(url, folder, max_tokens=32, at_once=1)
        ask = asked_at(where, tmp_path, seed=0, temperature=0.7)
        how = {"repairing": Repairing(attempts=2), "sampling": Sampling(1)}
        silent = sample_candidates(
            sandbox, tasks, lambda wave: [[Said("[]")] for _ in wave], Sampling(1)
        )
        found = repair_candidates(
            sandbox, tasks, silent, "endpoint", ask, lambda one, made: made.won, **how
        )
        return [to_line(one) for one in found]

    with Sandbox() as sandbox:
        with transformers_serve(folder) as url:
            lines = runs(sandbox, url)
            with pytest.raises(EndpointError, match="status 4"):
                strange = Endpoint(url, "another-model")
                asked_at(strange, tmp_path, seed=0, temperature=0.7)(wanted("a"))
        assert len(lines) == 2 and list(tmp_path.iterdir())
        assert runs(sandbox, url) == lines, "all of it from the cache, for nobody is there"
