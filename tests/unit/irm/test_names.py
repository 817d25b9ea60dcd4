"""What the IRM shows of names, to whom, and what it does with a name that is asked for twice."""

from typing import Any

import pytest

from ouro_core.model.errors import Exists, FlowTimeout
from ouro_core.model.irm_requests import BindProcess, CreateName, ListNames, RibList, RibRead
from ouro_core.model.names import NameInfo

from .conftest import ALICE, MEMBER, ROOT


@pytest.mark.parametrize(("uid", "shown"), [(ROOT, "/etc/key"), (MEMBER, "/etc/key"), (ALICE, "")])
async def test_paths_of_security_files_are_not_for_everybody(host: Any, uid: int, shown: str) -> None:
    await host.root.call(CreateName(NameInfo("n", server_key="/etc/key", open=True)))
    (found,) = (await host.app(uid).call(ListNames())).names
    assert (found.name, found.open, found.server_key) == ("n", True, shown)


async def test_a_name_is_what_was_asked_for_or_an_error_says_so(host: Any) -> None:
    alice = host.alice
    await alice.call(CreateName(NameInfo("n")))
    await alice.call(CreateName(NameInfo("n")))
    with pytest.raises(Exists, match='name "n" exists and stays as it is'):
        await alice.call(CreateName(NameInfo("n", open=True)))
    with pytest.raises(Exists):
        await host.root.call(CreateName(NameInfo("n", server_key="/etc/key")))
    await alice.call(CreateName(NameInfo("m", open=True)))
    await alice.call(CreateName(NameInfo("m", open=True)))
    await alice.call(CreateName(NameInfo("m")))
    assert [n.open for n in (await alice.call(ListNames())).names] == [True, False]


async def test_names_with_slashes_have_a_place_in_the_rib(host: Any) -> None:
    for name in ("a/b", "../c", "50%"):
        await host.root.call(CreateName(NameInfo(name)))
    assert (await host.root.call(RibList("names"))).names == ("..%2Fc/", "50%25/", "a%2Fb/")
    assert '"name": "a/b"' in (await host.root.call(RibRead("names/a%2Fb"))).json


async def test_accepting_without_a_name_is_explained(host: Any) -> None:
    app = await host.alice.announce()
    with pytest.raises(FlowTimeout, match=r"the process is bound to no name: see ouro_core\.announce, ouro bind"):
        await app.accept(timeout=0.0)
    await app.call(BindProcess(app.pid, "n"))
    with pytest.raises(FlowTimeout) as e:
        await app.accept(timeout=0.0)
    assert "bound" not in str(e.value)
