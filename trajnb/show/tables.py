"""A table as it stands in a notebook: `styled(table)` in place of `table.style`, which escapes nothing."""

import pandas as pd
from pandas.io.formats.style import Styler


def styled(table: pd.DataFrame) -> Styler:
    """A table in which every text is shown as text, in cells, rows' labels and columns' labels.

    What is said by `format` afterwards must be a form of numbers: one of texts would let their tags in.
    """
    plain = table.style.format(escape="html")
    return plain.format_index(escape="html").format_index(escape="html", axis=1)
