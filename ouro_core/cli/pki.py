"""`ouro pki`: an authority of one's own, and certificates for names, each where the IRMd looks for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ..contracts.crypto import KemSuite
from ..model.errors import InvalidArgument
from .asjson import print_json
from .certificates import DEFAULT_KIND, issue, load_pair, make_authority, write_files, write_pair
from .commands import Group, json_option
from .inspection import Inspector, security_directory

__all__ = ["pki"]

FC = TypeVar("FC", bound=Callable[..., Any])
_AUTHORITY_DAYS: Final = 3650
_DAYS: Final = 365

_directory = click.option(
    "--directory",
    metavar="DIR",
    help="Directory of security files; else the IRMd's, or the one it would have by default.",
)
_force = click.option("--force", is_flag=True, help="Replace what is there.")


def _algorithm(what: str) -> Callable[[FC], FC]:
    return click.option(
        "--algorithm",
        metavar="KIND",
        default=DEFAULT_KIND,
        show_default=True,
        help=f"Key of {what}; a word that is none shows all of them.",
    )


@click.group(cls=Group)
def pki() -> None:
    """An authority of one's own, and certificates for names.

    A flow is authenticated when the server shows a certificate for its name, and the client has the authority that
    issued it; and the other way round, if the client shows one.
    """


@pki.command()
@click.option("--name", default="Ouroboros CA", show_default=True, help="Name of the authority.")
@_algorithm("the authority")
@click.option(
    "--days", type=click.IntRange(1), default=_AUTHORITY_DAYS, show_default=True, help="How long it is valid."
)
@_directory
@_force
@json_option
def init(name: str, algorithm: str, days: int, directory: str | None, force: bool, as_json: bool) -> None:
    """Make an authority: its certificate is in cacert/ca.pem, its key in pki/ca.key.pem."""
    inspector = Inspector(security_directory(directory))
    certificate, key = _authority(inspector.directory)
    write_pair(make_authority(name, algorithm, days, inspector.suites.authenticators), certificate, key, force)
    _say(certificate, key, as_json)


@pki.command("issue")
@click.argument("name")
@click.option(
    "--client", metavar="DST", help="NAME is a client's, and shows this certificate when it allocates flows to DST."
)
@_algorithm("the certificate")
@click.option("--days", type=click.IntRange(1), default=_DAYS, show_default=True, help="How long it is valid.")
@_directory
@_force
@json_option
def issue_(
    name: str, client: str | None, algorithm: str, days: int, directory: str | None, force: bool, as_json: bool
) -> None:
    """A certificate for NAME, which a server shows when it accepts flows: in server/NAME.

    With --client it is for the other side: in client/DST.
    """
    inspector = Inspector(security_directory(directory))
    folder = inspector.folder(name, client)
    certificate, key = folder / "crt.pem", folder / "key.pem"
    authority = load_pair(*_authority(inspector.directory))
    write_pair(issue(authority, name, algorithm, days, inspector.suites.authenticators), certificate, key, force)
    _say(certificate, key, as_json)
    if algorithm.startswith("ed"):
        click.echo(
            f"Signatures of {algorithm} go with no enc.conf: its flows are authenticated, not encrypted.", err=True
        )


@pki.command()
@click.argument("name")
@click.option(
    "--algorithm",
    metavar="KEX",
    default="X25519MLKEM768",
    show_default=True,
    help="A key encapsulation, as in enc.conf.",
)
@_directory
@_force
@json_option
def kex(name: str, algorithm: str, directory: str | None, force: bool, as_json: bool) -> None:
    """A static key of NAME, for clients with kem_mode = client.

    The server's half is in server/NAME; the other one, in client/NAME, is for the hosts of the clients.
    """
    inspector = Inspector(security_directory(directory))
    suite = inspector.suites.kexes.named(algorithm)
    if not isinstance(suite, KemSuite):
        raise InvalidArgument(f"{algorithm} is no key encapsulation, and needs no static key")
    suffix = "raw" if suite.raw else "pem"
    public = inspector.folder(name, name) / f"kex.srv.pub.{suffix}"
    private = inspector.folder(name) / f"kex.key.{suffix}"
    contents = suite.new_files()
    write_files((private, contents[0]), (public, contents[1]), force)
    if as_json:
        print_json({"private": str(private), "public": str(public)})
    else:
        print(f"{private}\n{public}")


@pki.command()
@_directory
@json_option
def show(directory: str | None, as_json: bool) -> None:
    """Every certificate there is: whose, from whom, until when, and what is wrong with it."""
    found = Inspector(security_directory(directory)).certificates()
    if as_json:
        print_json(found)
        return
    for entry in found:
        print(entry["path"])
        if "subject" in entry:
            print(f'  "{entry["subject"]}", {entry["key"]}, from "{entry["issuer"]}", until {entry["until"]}')
        for problem in entry["problems"]:
            print(f"  ! {problem}")


def _say(certificate: Path, key: Path, as_json: bool) -> None:
    """Which files were written."""
    if as_json:
        print_json({"certificate": str(certificate), "key": str(key)})
    else:
        print(f"{certificate}\n{key}")


def _authority(directory: str) -> tuple[Path, Path]:
    """Where its certificate and its key are."""
    return Path(directory, "cacert", "ca.pem"), Path(directory, "pki", "ca.key.pem")
