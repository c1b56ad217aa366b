"""Chat templates, written for these tests, of the kinds that published models have.

`{{ system }}` and the like are no part of them: every template is given `messages` alone, as a model's is.
"""

from dataclasses import dataclass

ALTERNATE = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}{% endfor %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
)
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)
START = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
MODEL_TURNS = (
    "{{ bos_token }}{% for m in messages %}"
    "<turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
INSTRUCT = (
    "{% set start = 0 %}{% set first = '' %}{% if messages[0]['role'] == 'system' %}"
    "{% set start = 1 %}{% set first = '<<' ~ messages[0]['content'] ~ '>>\n\n' %}{% endif %}"
    "{% for m in messages[start:] %}{% if m['role'] == 'user' %}"
    "[INST] {{ first if loop.first else '' }}{{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] | trim }} </s>{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Case:
    """A template and what of it is to be seen."""

    template: str
    end: str = "<|im_end|>"
    """Ends an answer."""
    before: str = "<|im_start|>assistant\n"
    """What a prompt ends with."""
    folds: bool = False
    """The instruction stands in the first user text."""
    special: tuple[str, ...] = ()
    """Tokens that the tokenizer has beside those of model tiny, called special."""
    added: tuple[str, ...] = ()
    """Tokens that it has, but does not call special."""


CASES = {
    "plain": Case(CHAT + START),
    "refuses a system message": Case(NO_SYSTEM + CHAT + START, folds=True),
    "drops a system message": Case(
        CHAT.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}") + START,
        folds=True,
    ),
    "must alternate": Case(ALTERNATE + CHAT + START, folds=True),
    "must alternate, other names, other end": Case(
        ALTERNATE + MODEL_TURNS,
        end="<end_turn>",
        before="<turn>model\n",
        folds=True,
        special=("<turn>", "<end_turn>"),
    ),
    "system inside the first user turn": Case(INSTRUCT, end="</s>", before=" [/INST]", special=("</s>",)),
    "another end, and its own at the very end": Case(
        "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
        end="<|end|>",
        before="<|assistant|>\n",
        special=("<|end|>", "<|user|>", "<|assistant|>", "<|system|>"),
    ),
    "an end that is not called special": Case(
        CHAT.replace("<|im_end|>", "<|END_OF_TURN|>") + START, end="<|END_OF_TURN|>", added=("<|END_OF_TURN|>",)
    ),
    "writes nothing behind an answer": Case(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}{% endfor %}" + START
    ),
    "opens a thought": Case(
        CHAT + START.replace("assistant\n", "assistant\n<think>\n"),
        before="<|im_start|>assistant\n<think>\n",
    ),
    "opens a thought and has no system role": Case(
        NO_SYSTEM + CHAT + START.replace("assistant\n", "assistant\n<think>\n"),
        before="<|im_start|>assistant\n<think>\n",
        folds=True,
    ),
    "writes an empty thought before an answer": Case(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m['content'] }}<|im_end|>\n{% endfor %}" + START,
        before="<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ),
    "opens a thought that it closes before an answer": Case(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{% if m['role'] == 'assistant' %}<think>\n</think>\n{% endif %}"
        "{{ m['content'] }}<|im_end|>\n{% endfor %}" + START.replace("assistant\n", "assistant\n<think>\n"),
        before="<|im_start|>assistant\n<think>\n</think>\n",
    ),
    "names a channel": Case(
        "{{ 'Today is ' ~ strftime_now('%Y-%m-%d') }}\n{% for m in messages %}<|start|>{{ m['role'] }}"
        "{% if m['role'] == 'assistant' %}<|channel|>final{% endif %}<|message|>{{ m['content'] }}"
        "{% if loop.last and m['role'] == 'assistant' %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        end="<|return|>",
        before="<|start|>assistant<|channel|>final<|message|>",
        special=("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"),
    ),
    "prints the date it is given, or today's": Case(
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ date_string }}\n" + CHAT + START
    ),
    "prints the time of day": Case("{{ strftime_now('%A, %H:%M:%S.%f') }}\n" + CHAT + START),
    "wants a user to begin": Case(
        "{% if not messages | selectattr('role', 'equalto', 'user') | list %}"
        "{{ raise_exception('no user query') }}{% endif %}" + CHAT + START
    ),
    "ends its prompt with a blank": Case(
        "{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT: {% endif %}",
        before="ASSISTANT: ",
    ),
}

REFUSED = {
    "prompt differently": "{{ messages | length }}" + CHAT + START,
    "no <|im_end|> after an answer": "{% for m in messages %}{{ m['content'] }}\n{% endfor %}",
    "leaves out what is said": "{% for m in messages %}{{ m['text'] }}<|im_end|>{% endfor %}",
    r"cannot write a question and its answer \(TemplateError: tools only": "{{ raise_exception('tools only') }}",
    r"cannot write a question and its answer \(TemplateSyntaxError": "{% for m in messages %}",
    r"cannot write a question and its answer \(\w+Error": "{{ messages[0]['content'] + 1 }}",
}
"""A part of the message -> a template that cannot be used."""
