"""What commands say: lines that move no cursor, errors as sentences, values of options."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from trajnb.escaping import in_terminal


def echo(line: object, err: bool = False) -> None:
    """Print a line; what is foreign in it moves no cursor and makes no further line."""
    click.echo(in_terminal(line), err=err)


@contextmanager
def told() -> Iterator[None]:
    """Show an error that trajnb raises on purpose as one sentence, without a traceback."""
    from trajnb.cache import CacheError, os_error

    try:
        yield
    except (ValueError, CacheError) as error:
        raise click.ClickException(in_terminal(error)) from error
    except OSError as error:
        raise click.ClickException(in_terminal(os_error(error))) from error


def listed(context, option, value: str) -> tuple[str, ...]:
    """An option's value, parts between commas: a `callback` of click."""
    return tuple(value.split(","))
