"""A model of the hub: the real client, a stand-in server."""

import pytest
from hub_server import COMMIT, blob_hash, run_client, serve

LOAD = """
import json
from trajnb.qlora.model import find_model, load_base, load_tokenizer

def find(model, revision=""):
    try:
        return find_model(model, revision)
    except ValueError as error:
        return str(error)

told = {name: find(f"me/{name}") for name in ("unknown", "gated")}
told["revision"] = find("me/small", "v2")
small = find("me/small")
told["small"] = [small.id, small.revision, small.sha256()]
told["width"] = load_base(small).config.hidden_size
told["template"] = load_tokenizer("me/small").chat_template
print(json.dumps(told))
"""
INSTEAD = (
    "or use tiny, smollm2-135m, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b or a folder that exists"
)


@pytest.fixture
def hub(tiny):
    files = {path.name: path.read_bytes() for path in tiny.folder.iterdir()} | {
        "weights.bin": b"pickle"
    }
    with serve({"me/small": files, "me/gated": files}) as hub:
        hub.gated.add("me/gated")
        yield hub


def test_a_model_is_found_loaded_and_kept(hub, tiny, tokenizer, tmp_path):
    weights = hub.files["me/small"]["model.safetensors"]
    hub.cuts[weights] = [100_000]
    told = run_client(LOAD, hub=hub, home=tmp_path)
    assert told["small"] == ["me/small", COMMIT, tiny.sha256()]
    assert (told["width"], told["template"]) == (64, tokenizer.chat_template)
    assert len(hub.got(blob_hash(weights))) == 2 and hub.got("weights.bin") == []
    assert told["unknown"].startswith("unknown model 'me/unknown': check its id on the hub")
    assert told["gated"].startswith(
        "model 'me/gated' is gated: accept its licence on the hub, then `hf auth"
    )
    assert told["revision"].startswith(
        "model 'me/small' at revision 'v2': the hub has no such revision"
    )

    later = run_client(LOAD, hub=hub, home=tmp_path, HF_HUB_OFFLINE="1")
    assert all(later[key] == told[key] for key in ("small", "width", "template"))
    assert later["unknown"].startswith(
        "model 'me/unknown' is not in the hub cache and the hub does not"
    )
    assert told["unknown"].endswith(INSTEAD) and later["unknown"].endswith(INSTEAD)
