"""papermill without what JupyterLab brings along: `python -m trajnb.study.execute`, arguments as papermill's.

With JupyterLab comes rfc3987-syntax, and where that is installed every `import jsonschema` builds its
grammar, for seconds, to check the format of internationalised addresses. No notebook has that format.
"""

import sys


def skip_grammar() -> None:
    """Have jsonschema, where it is imported from here on, do without that format, as it does where
    rfc3987-syntax is not installed. Other processes, such as JupyterLab's, are as they were.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # so an import of it is an ImportError


def main() -> None:
    """Run papermill."""
    skip_grammar()
    from papermill.__main__ import papermill

    papermill(prog_name="papermill")


if __name__ == "__main__":
    main()
