"""Dialogues of BFCL whose reference demands what nobody in them can know: the rule fails who follows them.

Found by looking for the values of reference calls that decide the verdict and stand neither in what the user
had said nor in a response, and reading the dialogues that remained. What can be put together (a date, a code
that a function gives, a text by the user's pattern) does not count. The list need not be complete: 27 of the
200 are said to have been failed by all of 18 models, the first one here among them
(github.com/ShishirPatil/gorilla/issues/1367).
"""

UNPASSABLE = {  # dialogue -> why
    "multi_turn_base_4": "the post is to be what `sort` gave, but has its parts in another order",
    "multi_turn_base_18": "the post is to be what `diff` gave, but lacks its line break",
    "multi_turn_base_30": "the post is to be a file exactly as it is, but lacks all of its quotes",
    "multi_turn_base_173": "the id of the ticket is told by nobody, and no function finds it",
    "multi_turn_base_176": "the description of the ticket, which the user dictates, has another year",
    "multi_turn_base_178": "the ticket has a priority that nobody asks for and that is not the default",
    "multi_turn_base_187": "the description of the ticket is in words that nobody gives",
}
