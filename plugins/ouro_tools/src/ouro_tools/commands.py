"""The tools as commands of `ouro`."""

import click

__all__ = ["ping"]


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}, add_help_option=False
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def ping(words: tuple[str, ...]) -> None:
    """Measure round-trip times: the same as oping."""
    from .oping import run

    raise SystemExit(run(words))
