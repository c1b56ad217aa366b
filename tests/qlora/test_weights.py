"""Which weights answer, and which are refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from trajnb.qlora import model as models
from trajnb.qlora.model import ModelFiles


@pytest.fixture
def copied(tiny, tmp_path):
    """A model's folder of one's own."""
    shutil.copytree(tiny.folder, tmp_path / "model")
    return ModelFiles(tmp_path / "model", "mine", "")


def test_the_hash_is_that_of_the_file_that_is_loaded(tiny, copied):
    save_file({"decoy": torch.zeros(1)}, copied.folder / "decoy.safetensors")
    (copied.folder / models.INDEX).write_text(json.dumps({"weight_map": {"x": "decoy.safetensors"}}))
    assert copied.sha256() == tiny.sha256(), "transformers prefers the whole file too"


def shard(files, name):
    (files.folder / "model.safetensors").rename(files.folder / "part.safetensors")
    weights = dict.fromkeys(load_file(files.folder / "part.safetensors"), name)
    (files.folder / models.INDEX).write_text(json.dumps({"weight_map": weights, "metadata": {}}))


def test_an_index_names_what_is_loaded(tiny, copied):
    shard(copied, "part.safetensors")
    save_file({"decoy": torch.zeros(1)}, copied.folder / "decoy.safetensors")
    assert [file.name for file in copied.weights()] == ["part.safetensors"]
    assert copied.sha256() == tiny.sha256()
    assert models.load_base(copied).num_parameters() == models.load_base(tiny).num_parameters()


@pytest.mark.parametrize("name", ["../other/x.safetensors", "sub/x.safetensors", "x.bin", "/x.safetensors"])
def test_an_index_that_leads_elsewhere_is_refused(copied, name):
    shard(copied, name)
    for use in (copied.sha256, lambda: models.load_base(copied)):
        with pytest.raises(ValueError, match="which is no \\*.safetensors beside it"):
            use()


def test_a_model_that_names_its_weights_elsewhere_is_refused(copied):
    config = json.loads((copied.folder / "config.json").read_text())
    config |= {"transformers_weights": "other.safetensors"}
    (copied.folder / "config.json").write_text(json.dumps(config))
    for use in (copied.sha256, lambda: models.load_base(copied)):
        with pytest.raises(ValueError, match="config.json names files of its own as weights"):
            use()


def test_an_adapter_is_no_model(copied):
    (copied.folder / "adapter_config.json").write_text("{}")
    for use in (copied.sha256, lambda: models.load_base(copied)):
        with pytest.raises(ValueError, match="is an adapter.*name the base"):
            use()


def test_code_that_comes_with_a_model_does_not_run(copied, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    ran = tmp_path / "ran"
    (copied.folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    for file in ("config.json", "tokenizer_config.json"):
        path = copied.folder / file
        told = json.loads(path.read_text()) | {
            "auto_map": {
                "AutoConfig": "evil.Evil",
                "AutoModelForCausalLM": "evil.Evil",
                "AutoTokenizer": ["evil.Evil", None],
            },
        }
        if file == "config.json":
            told["model_type"] = "evil"
        path.write_text(json.dumps(told))
    for use in (lambda: models.load_tokenizer(str(copied.folder)), lambda: models.load_base(copied)):
        try:
            use()
        except ValueError:
            pass
    assert not ran.exists()


@pytest.fixture
def adapted(tiny, tmp_path):
    network = models.add_adapter(models.load_base(tiny), rank=2, alpha=4, dropout=0.0, seed=0)
    network.save_pretrained(tmp_path / "adapter")
    return network, tmp_path / "adapter"


def test_an_adapter_in_another_format_is_refused(adapted):
    network, folder = adapted
    weights = load_file(folder / "adapter_model.safetensors")
    torch.save(weights, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match="holds no adapter_model.safetensors"):
        models.restore_adapter(network, folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_that_is_not_finite_is_refused(adapted, value):
    network, folder = adapted
    weights = load_file(folder / "adapter_model.safetensors")
    next(iter(weights.values()))[0, 0] = value
    save_file(weights, folder / "adapter_model.safetensors")
    before = models.adapter_weights(network)
    with pytest.raises(ValueError, match="are not finite"):
        models.restore_adapter(network, folder)
    after = models.adapter_weights(network)
    assert all(torch.equal(before[name], after[name]) for name in before), "nothing was put in"
