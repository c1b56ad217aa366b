import json
import sys
import time

import pytest

from trajnb.assets import fetch
from trajnb.formatting.calls import CallSyntaxError, parse
from trajnb.formatting.dialogue import Call
from trajnb.world import bounds
from trajnb.world.environment import MODULES, Environment

FILES = {
    "GorillaFileSystem": {
        "root": {"home": {"type": "directory", "contents": {"a.txt": {"type": "file", "content": "hello"}}}}
    }
}


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


def test_a_text_without_a_call_is_refused(world):
    for text in ("", "I would list the files.", "(exit)()", "[ls(", "[]"):
        response = world.respond(text)
        assert response.refused and response.failed
        assert response.text.startswith("Error during execution: "), response
    assert len(world.respond("x" * 5_000 + "()").text) < 600
    assert world.respond("I think [mkdir(dir_name='new')] is it").text == "None"


def test_failed_is_what_tells_of_an_error():
    world = Environment(["GorillaFileSystem", "TradingBot", "VehicleControlAPI", "TicketAPI"], FILES)
    outcomes = {
        "cat(file_name='a.txt')": (False, False),
        "cat(file_name='c.txt')": (True, False),  # the API says so
        "get_order_history()": (True, False),  # in a list
        "get_watchlist()": (True, False),  # in words
        "lockDoors(unlock=True, door=['roof'])": (True, False),  # it raises
        "lockDoors(unlock=True, door=[b'roof'])": (True, True),
        "unlink(path='a.txt')": (True, True),
    }
    for text, (failed, refused) in outcomes.items():
        response = world.respond(text)
        assert (response.failed, response.refused) == (failed, refused), (text, response)


def test_a_call_that_raises_keeps_what_it_had_done_as_in_bfcl():
    world = Environment(["VehicleControlAPI"], {})
    response = world.respond("lockDoors(unlock=False, door=['driver', 'roof', 'passenger'])")
    assert response.text == "Error during execution: 'roof'" and not response.refused
    assert world.state()["VehicleControlAPI"]["remainingUnlockedDoors"] == 3


BOTTOMLESS = ["mkdir(dir_name='d')", "cd(folder='d')"] * 32
DOUBLING = ["mkdir(dir_name='a')"]  # every pair puts a copy of `a` into `a`
for n in range(24):
    DOUBLING += [f"cp(source='a', destination='{n}')", f"mv(source='{n}', destination='a')"]
CIRCLE = ["mkdir(dir_name='d')", "cp(source='d', destination='d')"]
# `b` shares its subfolder `c` with `a`; the way up from there leads into `a`, which is gone
REMOVED = ["mkdir(dir_name='a')", "cd(folder='a')", "mkdir(dir_name='c')", "cd(folder='..')"]
REMOVED += ["cp(source='a', destination='b')", "rm(file_name='a')", "cd(folder='b')", "cd(folder='c')"]
REMOVED += ["cd(folder='..')"]
COPIES = ["touch(file_name='f')", f"echo(content='{'x' * 9_000}', file_name='f')"]
COPIES += [f"cp(source='f', destination='f{n}')" for n in range(120)]


@pytest.mark.parametrize(
    "calls, complaint",
    [
        (BOTTOMLESS, "folders may not be nested more than 30 deep"),
        (DOUBLING, "may hold 1000 files"),
        (REMOVED + DOUBLING, "may hold 1000 files"),
        (CIRCLE, "folders may not be nested more than 30 deep"),
        (COPIES, "and 1000000 characters"),
    ],
    ids=["deep", "doubling", "doubling where nobody looks", "circle", "much text"],
)
def test_a_tree_that_grows_too_large_is_rolled_back(calls, complaint):
    world = Environment(["GorillaFileSystem"], {})
    for text in calls:
        before, response = world.state(), world.respond(text)
        if response.failed:
            break
    assert response.refused and complaint in response.text, response
    assert world.state() == before
    for text in ("pwd()", "du()", "ls(a=True)"):
        assert not world.respond(text).failed, "it goes on as before"


def test_a_response_that_is_too_long_is_refused():
    world = Environment(["VehicleControlAPI", "MessageAPI"], {})
    world.respond("message_login(user_id='USR001')")
    for _ in range(3):
        assert not world.respond(f"send_message(receiver_id='USR002', message='{'x' * 4_000}')").failed
    before = world.state()
    response = world.respond("view_messages_sent()")
    assert response.refused and "longer than 10000 characters" in response.text
    assert world.state() == before and not world.respond("get_message_stats()").failed


def test_a_refused_call_leaves_no_trace_in_what_is_random():
    quiet, refused = (Environment(["VehicleControlAPI", "MathAPI"], {}) for _ in range(2))
    for world in (quiet, refused):
        world.respond("get_current_speed()")
    refused.respond("divide(a=1e30, b=1e-300)")
    assert quiet.respond("get_current_speed()") == refused.respond("get_current_speed()")


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("power(base=9, exponent=387420489)", "exponent must lie between -1000 and 1000"),
        ("power(base=9, exponent=-1e9)", "exponent must lie between"),
        ("round_number(number=5, decimal_places=-100000000)", "decimal_places must lie between"),
        ("square_root(number=2, precision=100000000)", "precision must lie between"),
        ("logarithm(value=2, base=3, precision=20000000)", "precision must lie between"),
        ("logarithm(2, 3, 20000000)", "precision must lie between"),
        ("multiply(a=1e31, b=2)", "numbers must lie between -1e+30 and 1e+30"),
        (f"add(a={10**31}, b=2)", "numbers must lie between"),
        ("mean(numbers=[1, [2, -1e200]])", "numbers must lie between"),
        ("divide(a=1e30, b=1e-300)", "would no longer be finite"),
        ("setCruiseControl(speed=5, activate=True, distanceToNextVehicle='inf')", "no longer be finite"),
        ("setCruiseControl(speed=7, activate=True, distanceToNextVehicle='nan')", "no longer be finite"),
        ("add(a=1j, b=2)", "may not be of type complex"),
        ("add(a=b'x', b=2)", "may not be of type bytes"),
        (f"mean(numbers={'[' * 40 + ']' * 40})", "lists may not be nested more than 30 deep"),
        (f"set_navigation(destination='{'x' * 10_001}')", "longer than 10000 characters"),
    ],
)
def test_what_is_out_of_bounds_is_refused(text, complaint):
    config = {"VehicleControlAPI": {"engineState": "running"}}
    world = Environment(["MathAPI", "VehicleControlAPI"], config)
    before = world.state()
    began = time.perf_counter()
    response = world.respond(text)
    assert response.refused and complaint in response.text, response
    assert time.perf_counter() - began < 1
    assert world.state() == before


def test_the_bounds_lie_far_above_what_reference_calls_need(bfcl):
    calls = [turn.call for dialogue in bfcl.dialogues for turn in dialogue.turns if turn.call]
    assert max(len(repr(call.arguments)) for call in calls) < bounds.LONGEST / 10
    assert max(len(turn.text) for d in bfcl.dialogues for turn in d.turns if turn.call) < bounds.LONGEST / 10
    for (name, argument), most in bounds.DIGITS.items():
        asked = [abs(call.arguments.get(argument, 0)) for call in calls if call.name == name]
        assert max(asked, default=0) < most / 10


def test_state_compares_as_python_does():
    def state(*tweets):
        world = Environment(["TwitterAPI"], {"TwitterAPI": {"authenticated": True}})
        for tweet in tweets:
            assert not world.respond(tweet).failed
        return json.loads(json.dumps(world.state()))

    post = "post_tweet(content='a', tags={})"
    assert state(post.format("['x', 1]")) == state(post.format("['x', 1.0]"))
    assert state(post.format("['x', 1]")) != state(post.format("['x', '1']"))
    assert state(post.format("['x']")) != state(post.format("('x',)")) != state(post.format("{'x'}"))
    assert state(post.format("{'x', 'y'}")) == state(post.format("{'y', 'x'}"))
    assert state(post.format("{1: 'x', 'y': 2}")) == state(post.format("{'y': 2, True: 'x'}"))
    assert state(post.format("{1: 'x'}")) != state(post.format("{'1': 'x'}"))


def test_the_state_of_a_tree_is_names_and_contents():
    def state(*calls):
        world = Environment(["GorillaFileSystem"], {})
        for call in calls:
            world.respond(call)
        return world.state()

    assert state("touch(file_name='a')", "mkdir(dir_name='b')") == state(
        "mkdir(dir_name='b')", "touch(file_name='a')", "cd(folder='b')"
    ), "neither the order in a folder nor the working folder counts"
    assert state("touch(file_name='a')") != state("mkdir(dir_name='a')")
    assert state("touch(file_name='a')") != state("touch(file_name='a')", "echo(content='x', file_name='a')")


def test_evaluating_twice_in_one_process_gives_the_same(bfcl, worlds):
    for dialogue in bfcl.dialogues[::20]:
        for _ in range(2):
            world = Environment(*worlds[dialogue.id])
            for turn in dialogue.turns:
                assert not turn.call or world.execute(turn.call) == turn.text


@pytest.mark.parametrize("text", ["[un-ls()]", "[os.ls()]", "éls()"])
def test_a_longer_name_is_not_carried_out_as_its_last_word(text):
    response = Environment(["GorillaFileSystem"], {}).respond(text)
    assert response.refused and "there is no function" in response.text
