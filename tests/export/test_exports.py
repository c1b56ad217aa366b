"""What other programs load: by the libraries themselves, as far as they are of this project."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from datasets import load_dataset

from trajnb import explore
from trajnb.export.adapters import base_of, write_adapters
from trajnb.export.examples import write_sharegpt, write_trl
from trajnb.export.logs import NO_PROMPT, SCORES, write_logs
from trajnb.export.tasks import write_tasks
from trajnb.keeping import keep
from trajnb.machine import ROOT
from trajnb.records import read_run
from trajnb.study import cli


@pytest.fixture(scope="module")
def quick(bfcl):
    return explore.open(ROOT / "reports" / "quick").kept


@pytest.fixture(scope="module")
def trl_folder(quick, tmp_path_factory):
    out = tmp_path_factory.mktemp("trl")
    write_trl(quick, out)
    return out


def loaded(folder: Path, config: str, cache: Path):
    return load_dataset(str(folder), config, cache_dir=str(cache))


def test_datasets_loads_every_config(quick, trl_folder, tmp_path):
    shown = {}
    for condition in ("full", "stripped"):
        pairs, messages = (
            loaded(trl_folder, f"{condition}-{kind}", tmp_path) for kind in ("prompt-completion", "messages")
        )
        assert len(pairs["test"]) == len(messages["test"]) == len(quick[0].items)
        for one, other in zip(pairs["train"], messages["train"], strict=True):
            assert other["messages"] == one["prompt"] + one["completion"]
        golds = {(row["dialogue_id"], row["step"]): row["gold"] for row in pairs["test"]}
        assert golds == {(item["dialogue_id"], item["step"]): item["gold"] for item in quick[0].items}
        assert {row["dialogue_id"] for row in pairs["train"]}.isdisjoint(pairs["test"]["dialogue_id"])
        shown[condition] = "".join(row["prompt"][-1]["content"] for row in pairs["test"])
    assert "API-Response:" in shown["full"] and "API-Response:" not in shown["stripped"]


def test_trl_reads_both_forms_alike(trl_folder, tmp_path):
    from trl import SFTConfig, SFTTrainer

    from trajnb.qlora.model import find_model, load_base, load_tokenizer

    tokens = {}
    for kind in ("prompt-completion", "messages"):
        rows = loaded(trl_folder, f"full-{kind}", tmp_path)["train"].select(range(2))
        rows = rows.select_columns(["messages"] if kind == "messages" else ["prompt", "completion"])
        settings = SFTConfig(
            output_dir=str(tmp_path), max_length=None, report_to="none", use_cpu=True, max_steps=1
        )
        model, tokenizer = load_base(find_model("tiny")), load_tokenizer("tiny")
        trainer = SFTTrainer(model, settings, train_dataset=rows, processing_class=tokenizer)
        tokens[kind] = [row["input_ids"] for row in trainer.train_dataset]
        if kind == "prompt-completion":
            first = trainer.train_dataset[0]
            pairs = zip(first["input_ids"], first["labels"], strict=True)
            learnt = tokenizer.decode([token for token, label in pairs if label != -100])
            assert learnt.strip().startswith(rows[0]["completion"][0]["content"])
    assert tokens["messages"] == tokens["prompt-completion"]


def test_sharegpt_is_what_its_readme_documents(quick, tmp_path):
    write_sharegpt(quick, tmp_path)
    about = json.loads((tmp_path / "dataset_info.json").read_text())
    assert set(about) == {f"trajnb_{c}_{s}" for c in ("full", "stripped") for s in ("train", "test")}
    for one in about.values():
        assert one["formatting"] == "sharegpt"
        rows = json.loads((tmp_path / one["file_name"]).read_text())
        assert rows and all(row["system"] for row in rows)
        for row in rows:  # a human at every odd place, the model at every even one
            speakers = [turn["from"] for turn in row[one["columns"]["messages"]]]
            assert speakers == ["human", "gpt"] * (len(speakers) // 2)
            assert row["conversations"][-1]["value"].startswith("API-Request: [")


def test_a_task_asks_for_what_the_run_was_asked(quick, tmp_path):
    import yaml

    write_tasks(quick, tmp_path)
    for condition in ("full", "stripped"):
        task = yaml.safe_load((tmp_path / f"trajnb_{condition}.yaml").read_text())
        lines = (tmp_path / task["dataset_kwargs"]["data_files"]["test"]).read_text().splitlines()
        rows = list(map(json.loads, lines))
        assert [row["target"] for row in rows] == [item["gold"] for item in quick[0].items]
        assert task["task"] == f"trajnb_{condition}" and not Path(task["dataset_path"]).is_absolute()
        assert all(row[task["doc_to_text"]].rstrip().endswith(":") for row in rows)


def test_a_log_holds_every_answer_and_adds_up_to_the_record(quick, tmp_path):
    written = write_logs(quick, tmp_path)
    assert len(written) == sum(len(run.record.matrix) * (1 + len(run.record.stages)) for run in quick)
    for path in written:
        log = json.loads(path.read_text())
        (run,) = [one for one in quick if one.folder.name == log["eval"]["run_id"]]
        scores = run.record.matrix[log["eval"]["task_args"]["condition"]]
        stage = log["eval"]["metadata"]["stage"]
        for name in SCORES:
            right = [sample["scores"][name]["value"] == "C" for sample in log["samples"]]
            assert sum(right) == sum(scores[name][stage])
        assert all(sample["input"] != NO_PROMPT for sample in log["samples"])


def test_without_its_corpus_a_log_has_answers_alone(write_run, tmp_path):
    run = read_run(write_run(tmp_path / "full-s0"))  # of a corpus that is nowhere
    write_logs([run], tmp_path / "logs")
    log = json.loads(next((tmp_path / "logs").glob("*stage-4.json")).read_text())
    assert {sample["input"] for sample in log["samples"]} == {NO_PROMPT}
    with pytest.raises(ValueError, match="corpus bfcl of full-s0 is not to be had"):
        write_trl([run], tmp_path / "trl")


def test_records_without_texts_give_nothing_away(tmp_path):
    keep(ROOT / "reports" / "quick", tmp_path / "kept", True, True)
    runs = explore.open(tmp_path / "kept").kept
    for write in (write_trl, write_sharegpt, write_tasks, write_logs):
        with pytest.raises(ValueError, match="kept without texts"):
            write(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_peft_loads_an_adapter_with_its_card(write_run, tmp_path):
    import torch
    from huggingface_hub import ModelCard
    from peft import PeftModel

    from trajnb.qlora.model import adapter_weights, add_adapter, find_model, load_base

    folder = write_run(tmp_path / "full-s0")
    tiny = find_model("tiny")
    network = add_adapter(load_base(tiny), rank=4, alpha=8, dropout=0.0, seed=0)
    for weight in adapter_weights(network).values():
        weight.uniform_(-1, 1)
    network.save_pretrained(folder / "adapters" / "2-vehicle_control")
    run = read_run(folder)
    (written,) = write_adapters([run], tmp_path / "out")
    again = PeftModel.from_pretrained(load_base(tiny), written)
    for name, weight in adapter_weights(network).items():
        assert torch.equal(weight, adapter_weights(again)[name]), name
    card = ModelCard.load(written / "README.md")
    assert card.data.base_model == base_of(run) == "HuggingFaceTB/SmolLM2-135M-Instruct"
    said = card.data.to_dict()
    assert (said["library_name"], said["license"]) == ("peft", "apache-2.0")
    shape = json.loads((written / "adapter_config.json").read_text())
    assert shape["base_model_name_or_path"] == base_of(run)
    right = run.record.matrix["full"]["canonical"][2]
    assert f"| {sum(right)} of {sum(run.record.items)} |" in card.content
    assert "{" not in card.content.partition("## Use")[0] and str(tmp_path) not in card.content


def test_a_card_says_foreign_text_as_text(write_run, tmp_path):
    from trajnb.export.adapters import card_of

    folder = write_run(tmp_path / "full-s0")
    record = json.loads((folder / "record.json").read_text())
    record["machine"] = "<script>alert(1)</script>\n# [x](javascript:1)"
    (folder / "record.json").write_text(json.dumps(record))
    card = card_of(read_run(folder), 1)
    assert "<script>" not in card and "\n# &#91;" not in card and "](" not in card


def test_the_command_says_what_it_wrote_and_what_it_cannot(quick, tmp_path):
    def told(*words):
        return CliRunner().invoke(cli.main, [str(word) for word in words])

    done = told("export", "lm-eval", ROOT / "reports" / "quick", tmp_path)
    assert done.exit_code == 0 and str(tmp_path / "trajnb_full.yaml") in done.output
    refused = told("export", "adapters", ROOT / "reports" / "quick", tmp_path)
    assert refused.exit_code == 1 and "hold no adapters" in refused.output
