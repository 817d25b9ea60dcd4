"""The outline of `ouro ipcp show`."""

from ouro_core.cli.outline import outline


def test_what_has_lines_is_below_its_key() -> None:
    tree = {
        "dht": {
            "contacts": [{"id": "ab", "rtt": None}, {"id": "cd", "rtt": 0.5}],
            "database": "DHT database:\n\nKey: x\n  value\n",
            "hashes": ["a", "b"],
            "names": [],
            "server": "",
        }
    }
    assert list(outline(tree)) == [
        "dht",
        "    contacts",
        "        id ab, rtt none",
        "        id cd, rtt 0.5",
        "    database",
        "        DHT database:",
        "",
        "        Key: x",
        "          value",
        "    hashes    a, b",
        "    names     none",
        "    server    none",
    ]
