import sys
import time

import pytest

from trajnb.assets import AssetError, fetch
from trajnb.formatting.calls import CallSyntaxError, parse
from trajnb.formatting.dialogue import Call
from trajnb.world.environment import MODULES, Environment

FILES = {
    "GorillaFileSystem": {
        "root": {"home": {"type": "directory", "contents": {"a.txt": {"type": "file", "content": "hello"}}}}
    }
}


@pytest.fixture(scope="module", autouse=True)
def wheel():
    try:
        fetch("bfcl")
    except AssetError as error:
        pytest.skip(f"the bfcl wheel is not to be had: {error}")


@pytest.fixture
def world():
    return Environment(["GorillaFileSystem", "TwitterAPI", "MathAPI"], FILES)


def run(world, text):
    return world.execute(parse(text))


def test_responses_are_written_as_bfcl_writes_them(world):
    assert run(world, "cat(file_name='a.txt')") == '{"file_content": "hello"}'
    assert run(world, "mkdir(dir_name='new')") == "None"
    assert run(world, "logarithm(value=8, base=2, precision=10)").startswith("{'result': mpf(")
    assert run(world, "cat(file_name='c.txt')").startswith('{"error": ')


def test_state_is_kept_between_calls_and_never_between_environments(world):
    assert run(world, "mkdir(dir_name='new')") == "None"
    assert "new" in run(world, "ls()")
    assert "new" not in run(Environment(["GorillaFileSystem"], FILES), "ls()")


def test_the_initial_configuration_is_not_changed(world):
    before = repr(FILES)
    run(world, "rm(file_name='a.txt')")
    assert repr(FILES) == before


def test_default_arguments_are_not_shared_between_dialogues():
    config = {"TwitterAPI": {"username": "me", "password": "pw", "authenticated": True, "tweets": {}}}
    for _ in range(2):
        world = Environment(["TwitterAPI"], config)
        run(world, "authenticate_twitter(username='me', password='pw')")
        assert '"mentions": []' in (posted := run(world, "post_tweet(content='hi')")), posted
        run(world, "mention(tweet_id=0, mentioned_usernames=['@you'])")


def test_positional_arguments_are_bound_by_the_signature(world):
    assert world.bind(parse("mv('a.txt', 'b.txt')")) == Call(
        "mv", {"source": "a.txt", "destination": "b.txt"}
    )
    assert world.bind(parse("mv(destination='b', source='a')")) == world.bind(parse("mv('a', 'b')"))
    assert list(world.bind(parse("mv(destination='b', source='a')")).arguments) == ["source", "destination"]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("unlink(path='a.txt')", "there is no function 'unlink' here"),
        ("fillFuelTank(fuelAmount=1)", "there is no function 'fillFuelTank' here"),
        ("_load_scenario(scenario={})", "there is no function '_load_scenario' here"),
        ("__init__()", "there is no function '__init__' here"),
        ("__class__()", "there is no function '__class__' here"),
        ("root()", "there is no function 'root' here"),
        ("cat()", "missing a required argument: 'file_name'"),
        ("cat(file_name='a.txt', x=1)", "unexpected keyword argument 'x'"),
        ("ls(True, True)", "too many positional arguments"),
        ("ls(a=exit())", None),
        ("__import__('os').getpid()", "there is no function '__import__' here"),
        ("open('F', 'w').write('x')", "there is no function 'open' here"),
        ("divide(a=1, b='x')", None),
    ],
)
def test_what_may_not_run_is_an_error_response(world, text, complaint, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    response = run(world, text)
    if complaint:
        assert response.startswith("Error during execution: ") and complaint in response
    assert not list(tmp_path.iterdir()), "a call touched the disk"


def test_code_in_an_argument_is_text(world):
    response = run(world, "cat(file_name=__import__('os').popen('echo hi').read())")
    assert "hi\n" not in response and "error" in response


def test_expressions_are_not_computed():
    began = time.perf_counter()
    for text in ("(exit)()", "echo('A' * 10**9)", "add(1, 2 + 3)"):
        with pytest.raises(CallSyntaxError):
            parse(text)
    assert time.perf_counter() - began < 1


def test_a_class_that_is_not_listed_is_an_error():
    with pytest.raises(ValueError, match="class 'WebSearchAPI' is not among those that may run"):
        Environment(["WebSearchAPI"], {})


def test_every_class_starts_without_a_configuration():
    for name in MODULES:
        Environment([name], {})


def test_the_classes_leave_no_module_behind():
    Environment(list(MODULES), {})
    assert not [name for name in sys.modules if name.startswith("bfcl_eval")]
    assert str(fetch("bfcl")) not in sys.path
