"""`ouro version`."""

import platform
from importlib.metadata import distributions

import click

from .. import __version__
from ..hookspecs import OURO_API
from .asjson import print_json
from .commands import json_option

__all__ = ["version"]


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Versions of Ouro and of what it runs on."""
    versions = {
        "ouro": __version__,
        "plugin API": ".".join(map(str, OURO_API)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    # distributions that are installed and have entry points of ours; nothing is imported
    for dist in distributions():
        if any(e.group in ("ouro", "ouro.commands") for e in dist.entry_points):
            versions[dist.name] = dist.version
    if as_json:
        print_json(versions)
    else:
        width = max(map(len, versions))
        print("\n".join(f"{what:{width}}  {number}" for what, number in versions.items()))
