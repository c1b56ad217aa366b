"""What opens a report: one answer, what it does not tell, four counts, and pictures.

The front page writes them by its template; a notebook gets them as HTML that carries its styles.
"""

import pandas as pd

from trajnb.escaping import in_html as escape
from trajnb.scoring import crossing
from trajnb.scoring.lead import Lead, counts_of
from trajnb.show.leading import count_links, crossing_picture, ink_styles, picture
from trajnb.show.reader import Numbered, template


def opening(table: pd.DataFrame, first: Lead | None, inks: Numbered, linked: bool) -> dict:
    """The first screen of the front page, by the names of its template; behind it the counts of all
    other pairs of arms. Nothing where nothing can be compared.

    `inks`: of the colours that are used, see `leading.ink_styles`; `linked`: the page of items is
    there.
    """
    if first is None:
        return {}
    counts = first.counts
    pairs = [
        (str(one.left), str(one.right), one.calls, count_links(one, first.measure))
        for one in counts_of(table, first.measure)
        if {one.left, one.right} != {counts.left, counts.right}
    ]
    rows = next(iter(crossing.combinations(table).values()), table)
    return {
        "lead": first,
        "linked": linked,
        "counts": count_links(counts, first.measure),
        "picture": picture(table, counts, first.measure, inks, linked),
        "crossing": crossing_picture(rows, first.measure, inks),
        "pairs": pairs,
    }


def answer_html(first: Lead) -> str:
    """The answer and what it does not tell, for a notebook."""
    return _alone(
        f'<p class="answer">{escape(first.answer)}</p><p class="untold">{escape(first.untold)}</p>'
    )


def items_html(table: pd.DataFrame, first: Lead, linked: bool) -> str:
    """Who has a call right, as four counts, and every held-out call at every stage, for a notebook.
    """
    inks = Numbered()
    drawn = picture(table, first.counts, first.measure, inks, linked)
    counts = ""
    for number, words, address in count_links(first.counts, first.measure):
        said = f"<b>{number:,}</b> {escape(words)}"
        counts += f'<a href="{escape(address)}">{said}</a>' if linked else f"<span>{said}</span>"
    return _alone(f'<nav class="counts" aria-label="who has a call right">{counts}</nav>{drawn}', inks)


def _alone(body: str, inks: Numbered | None = None) -> str:
    """HTML with the styles that it needs, so that it also looks right alone."""
    styles = f"{template('colours.css')}{template('opening.css')}{ink_styles(inks or Numbered())}"
    return f'<style>\n{styles}</style><div class="trajnb-colours opened">{body}</div>'
