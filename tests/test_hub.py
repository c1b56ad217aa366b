"""The real client of the hub against a stand-in server."""

import json
import re

import pytest
from hub_server import COMMIT, TOKEN, blob_hash, run_client, serve

SMALL = b'[{"id": 0}]\n'
LARGE = b'[{"id": 1, "text": "' + b"0123456789" * 30_000 + b'"}]\n'
PART = 10 * 2**20  # bytes that the client writes at a time: of a part that breaks off it keeps nothing
NAMES = ("test-data/small.json", "training-data/large.json")
FETCH = """
import json, sys
from trajnb.hub import fetch_files
repo, revision, *names = sys.argv[1:]
try:
    print(json.dumps({"paths": [str(path) for path in fetch_files(repo, revision, names)]}))
except ValueError as error:
    print(json.dumps({"error": str(error)}))
assert "torch" not in sys.modules
"""
WANTED = f"dataset 'me/calls' at revision '{COMMIT}'"


@pytest.fixture
def hub():
    with serve({"datasets/me/calls": dict(zip(NAMES, (SMALL, LARGE), strict=True))}) as hub:
        yield hub


@pytest.fixture
def fetch(hub, tmp_path):
    """A function that fetches files and returns their contents, or what went wrong."""

    def fetch(*names, repo="me/calls", revision=COMMIT, **environment):
        done = run_client(FETCH, repo, revision, *(names or NAMES), hub=hub, home=tmp_path, **environment)
        if "error" in done:
            return done["error"]
        for path in done["paths"]:
            assert path.startswith(str(tmp_path / "hub" / "datasets--me--calls"))
        return [open(path, "rb").read() for path in done["paths"]]

    return fetch


def test_files_arrive_whole_and_are_kept(hub, fetch):
    assert fetch() == [SMALL, LARGE]
    hub.asked.clear()
    assert fetch() == [SMALL, LARGE] and hub.asked == []  # a commit does not change


def test_a_branch_is_followed(fetch):
    assert fetch(revision="main") == [SMALL, LARGE]


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"repo": "me/cals"}, f"unknown {WANTED.replace('calls', 'cals')}: check its id on the hub"),
        ({"repo": "me/too/many"}, "unknown dataset 'me/too/many' .*: check its id on the hub"),
        ({"revision": "v2"}, "dataset 'me/calls' at revision 'v2': the hub has no such revision; give a"),
    ],
)
def test_what_the_hub_does_not_have_is_named(fetch, asked, message):
    assert re.match(message, fetch(**asked))


def test_a_file_that_the_hub_does_not_have_is_named(fetch):
    assert fetch("small.json").startswith(f"{WANTED} has no file 'small.json': check its name among")


def test_a_gated_dataset_needs_a_token(hub, fetch):
    hub.gated.add("datasets/me/calls")
    assert fetch() == f"{WANTED} is gated: accept its licence on the hub, then `hf auth login`"
    assert fetch(HF_TOKEN=TOKEN) == [SMALL, LARGE]


def test_without_a_network_the_cache_is_enough(hub, fetch, monkeypatch):
    assert fetch(NAMES[0]) == [SMALL]
    for environment in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        assert fetch(NAMES[0], **environment) == [SMALL]
        error = fetch(**environment)
        assert error.startswith(f"{WANTED} is not in the hub cache and the hub does not answer (")
        assert error.endswith("): try again with a network and without HF_HUB_OFFLINE")


@pytest.mark.parametrize(
    "status, message",
    [
        (503, f"{WANTED} is not in the hub cache and the hub does not answer (HfHubHTTPError: Server error"),
        (403, f"the hub refuses {WANTED} (HfHubHTTPError: 403 Forbidden: refused.): `hf auth login` with a"),
    ],
)
def test_a_hub_that_does_not_serve_is_told_from_one_that_refuses(hub, fetch, status, message):
    hub.failing = status
    assert fetch().startswith(message)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["git", "lfs"])
def test_a_file_that_arrives_damaged_is_removed(hub, fetch, tmp_path, content):
    hub.sent_instead[content] = content.replace(b"id", b"di")
    error = fetch()
    assert f"is damaged, its hash is {blob_hash(hub.sent_instead[content])} where the hub states" in error
    assert blob_hash(content) in error and "was removed from the cache; run again" in error
    assert not list(tmp_path.rglob(blob_hash(content)))
    hub.sent_instead.clear()
    assert fetch() == [SMALL, LARGE]


def test_a_file_damaged_in_the_cache_is_removed(fetch, tmp_path):
    fetch()
    (blob,) = tmp_path.rglob(blob_hash(SMALL))
    blob.write_bytes(SMALL[:-2])
    assert "is damaged" in fetch()
    assert fetch() == [SMALL, LARGE]


def test_files_are_checked_where_the_cache_has_no_links(hub, fetch, tmp_path):
    plain = {"HF_HUB_DISABLE_SYMLINKS": "1"}
    assert fetch(**plain) == [SMALL, LARGE]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*.json"))
    hub.sent_instead[SMALL] = SMALL.upper()
    (file,) = tmp_path.rglob("small.json")
    file.write_bytes(SMALL.upper())
    assert "is damaged" in fetch(**plain) and not file.exists()


def test_a_server_that_states_no_hash_is_not_believed(hub, fetch):
    hub.etags[SMALL] = "v1-1756"
    assert "cannot be checked, its ETag 'v1-1756' is no hash: unset HF_ENDPOINT" in fetch()


def test_a_broken_connection_is_taken_up_where_it_broke(hub, fetch):
    content = bytes(3 * PART)
    hub.files["datasets/me/calls"]["big.json"] = content
    hub.cuts[content] = [PART + 5, PART + 5]
    (got,) = fetch("big.json")
    assert blob_hash(got) == blob_hash(content)
    assert hub.got(blob_hash(content)) == ["", f"bytes={PART}-", f"bytes={2 * PART}-"]


def test_after_a_download_that_failed_the_next_one_finishes_it(hub, fetch, tmp_path):
    hub.cuts[LARGE], hub.failing = [100_000], 500
    error = fetch()
    assert error.startswith(f"{WANTED} did not arrive whole (") and "run again" in error
    assert not list(tmp_path.rglob("large.json"))
    hub.failing = 0
    hub.asked.clear()
    assert fetch() == [SMALL, LARGE]
    assert hub.got("small.json") == []  # whole files stay; the client keeps no parts of a file


READ = """
import json, sys
from trajnb.corpora.load import load_corpus
found = []
for path in sys.argv[1:]:
    try:
        corpus = load_corpus("jsonl", corpus_path=path, blocks="one")
        ids = sorted(dialogue.id for dialogue in corpus.dialogues)
        found.append([ids, sorted(corpus.held_out), corpus.account["packing"]])
    except ValueError as error:
        found.append(str(error))
print(json.dumps(found))
"""


def own_rows(first):
    tool = {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}
    for number in range(2):
        call = {"name": "look", "arguments": json.dumps({"at": f"{first} {number}"})}
        said = [{"role": "user", "content": f"Look {first}."}, {"role": "assistant", "tool_calls": [call]}]
        yield json.dumps({"id": number, "tools": json.dumps([tool]), "messages": said})


def test_a_dataset_of_the_hub_is_a_corpus_at_a_revision(tmp_path):
    train, test = ("\n".join(own_rows(first)).encode() + b"\n" for first in ("up", "down"))
    files = {"datasets/me/two": {"train.jsonl": train, "test.jsonl": test}, "datasets/me/one": {"a.jsonl": train}}
    both = [["test-0", "test-1", "train-0", "train-1"], ["test-0", "test-1"], "dataset of the hub"]
    with serve(files) as hub:
        asked = [f"me/two@{COMMIT}", f"me/one@{COMMIT}", "me/one", f"me/none@{COMMIT}", "me/one@v9"]
        two, one, unpinned, unknown, other = run_client(READ, *asked, hub=hub, home=tmp_path)
        assert two == both and one[0] == ["0", "1"] and len(one[1]) == 1
        assert f"needs a revision, or a study that goes on could find other rows: write me/one@{COMMIT}" in unpinned
        assert "unknown dataset 'me/none'" in unknown and "no such revision" in other
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        assert run_client(READ, asked[0], hub=hub, home=tmp_path, **offline) == [both]
