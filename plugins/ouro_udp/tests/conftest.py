"""A name server for tests: BIND, started by the test on a port of the loopback interface, as whoever runs it."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest

CONFIGURATION = """
options {{
    directory "{directory}"; pid-file "{directory}/pid"; session-keyfile "{directory}/key"; lock-file none;
    listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no;
    allow-transfer {{ none; }};
}};
controls {{ }};
zone "." {{ type primary; file "{directory}/root.db"; allow-update {{ {allow}; }}; }};
"""
ZONE = """$TTL 60
. IN SOA ns. admin. 1 3600 600 86400 60
. IN NS ns.
ns. IN A 127.0.0.1
"""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port: int = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        return port


class Bind:
    """A primary server for the root, which takes dynamic updates from everybody, or from `allow`."""

    def __init__(self, allow: str = "any") -> None:
        program = shutil.which("named", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if program is None:
            pytest.skip("there is no named to ask; install Debian's package bind9")
        self._program = program
        self._directory = tempfile.TemporaryDirectory(prefix="ouro-named-")
        self.port = free_port()
        directory = Path(self._directory.name)
        self._configuration = directory / "named.conf"
        self._configuration.write_text(CONFIGURATION.format(directory=directory, port=self.port, allow=allow))
        (directory / "root.db").write_text(ZONE)
        self.log = directory / "log"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._named = subprocess.Popen(
                [self._program, "-g", "-n", "1", "-c", str(self._configuration)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while not self.ask("ns.", "A"):
            if self._named.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"named did not start:\n{self.log.read_text()}")

    def ask(self, name: str, record: str) -> list[str]:
        """What the server says."""
        try:
            answer = dns.query.udp(dns.message.make_query(name, record), "127.0.0.1", 0.3, self.port)
        except (dns.exception.Timeout, OSError):
            return []
        return sorted(item.to_text() for rrset in answer.answer for item in rrset)

    def records(self, name: str, record: str) -> list[tuple[int, str]]:
        """(TTL, value) of a name that stands for its hash."""
        answer = dns.query.udp(dns.message.make_query(name, record), "127.0.0.1", 5.0, self.port)
        return sorted((rrset.ttl, item.to_text()) for rrset in answer.answer for item in rrset)

    def stop(self) -> None:
        self._named.terminate()
        self._named.wait(20)

    def close(self) -> None:
        if self._named.poll() is None:
            self.stop()
        self._directory.cleanup()


@pytest.fixture(scope="session")
def bind() -> Iterator[Bind]:
    """One for all tests that do not stop it."""
    server = Bind()
    yield server
    server.close()
