"""`ouro version`."""

import json
import platform
from importlib.metadata import distributions

import click

from .. import __version__
from ..hookspecs import OURO_API

__all__ = ["version"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
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
        print(json.dumps(versions, indent=2))
    else:
        width = max(map(len, versions))
        print("\n".join(f"{what:{width}}  {number}" for what, number in versions.items()))
