import pytest

from trajnb.formatting.documents import apis_of
from trajnb.formatting.replies import form, meaning

APIS = apis_of(
    ['{"name":"cp","parameters":{"source":{"type":"string"},"times":{"type":"integer"}}}']
)


@pytest.mark.parametrize(
    "text, written",
    [
        ("API-Request: [cp(source='a')] and more", "[cp(source='a')]"),
        ('[cp(source="a", times=2)', "[cp(source='a', times=2)]"),
        (" API-Request: []\n", "[]"),
        ("I would\n\n rather not.", "I would rather not."),
        ("", "(nothing)"),
        ("[über(x=1)]", "[über(x=1)]"),
    ],
)
def test_a_reply_has_one_form_for_people(text, written):
    assert form(text) == written
    assert len(form("x" * 30_000)) == 500


def test_replies_mean_the_same_whatever_their_words():
    same = [
        "[cp(source='a', times=2)]",
        "API-Request: [cp(times='2', source=\"a\")]",
        "cp('a', 2.0)",
    ]
    assert len({meaning(text, APIS) for text in same}) == 1
    assert len({meaning(text, {}) for text in same}) == 2, "what binds positions are documents"
    assert meaning("[]", APIS) == meaning("API-Request: [] ", APIS) != meaning("[] []", APIS)
    assert meaning("a  b", APIS) == meaning("a\nb", APIS) != meaning("ab", APIS)
    long = "x" * 600
    assert meaning(long + "y", APIS) != meaning(long + "z", APIS), (
        "forms are shortened, meanings not"
    )
