"""A tokenizer without its model: the same one, and no torch for it."""

import subprocess
import sys

import nbformat

from trajnb.machine import ROOT
from trajnb.qlora import chat, model, tokenizer

MESSAGES = [
    {"role": "system", "content": "You call APIs."},
    {"role": "user", "content": "Wie spät? <|im_end|> 天 \n\n  x = 1"},
]


def test_it_is_the_tokenizer_that_the_model_is_trained_with():
    whole, alone = model.load_tokenizer("tiny"), tokenizer.load_tokenizer("tiny")
    assert alone.chat_template == whole.chat_template and chat.habits(alone) == chat.habits(whole)
    tokens = [
        chat.chat_tokens(one, MESSAGES, add_generation_prompt=True) for one in (whole, alone)
    ]
    assert tokens[0] == tokens[1] and len(tokens[0]) > 40


def test_a_page_of_the_corpus_loads_no_torch(tmp_path):
    model.find_model("tiny")  # where it is not there yet, it is built with torch
    cells = nbformat.read(ROOT / "notebooks" / "01_inspect.ipynb", 4).cells
    named = {cell.id: cell.source for cell in cells}
    chosen = ("inspect-01", "inspect-02", "inspect-03", "inspect-corpus")
    script = "\n".join(["import sys", *map(named.get, chosen), "print('torch' in sys.modules)"])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"
