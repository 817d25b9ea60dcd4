"""A flood of one host costs that host alone."""

from ouro_core.shim.admission import MAX_HOSTS, Admission


def test_one_who_floods_is_held_to_the_rate_and_others_are_not() -> None:
    admission: Admission[str] = Admission(100, 10)
    admitted = sum(admission.admit("loud", n / 50_000) for n in range(100_000))
    assert 200 <= admitted <= 212, "two seconds at 100, and the burst"
    assert admission.dropped == 100_000 - admitted
    assert all(admission.admit("quiet", 2.0 + n / 50) for n in range(100))
    assert admission.admit("loud", 3.0), "it is forgiven"


def test_hosts_are_forgotten_and_memory_does_not_grow() -> None:
    admission: Admission[int] = Admission(1, 1)
    assert all(admission.admit(host, 0.0) for host in range(3 * MAX_HOSTS))
    assert len(admission._hosts) == MAX_HOSTS
    assert not admission.admit(3 * MAX_HOSTS - 1, 0.0)
    assert admission.admit(0, 0.0)


def test_one_who_goes_on_is_not_forgotten_for_others_that_come() -> None:
    admission: Admission[str] = Admission(1, 10)
    admitted = 0
    for n in range(5 * MAX_HOSTS):
        admitted += admission.admit("loud", 0.0)
        assert admission.admit(f"new {n}", 0.0)
    assert admitted == 10


def test_a_burst_after_a_pause() -> None:
    admission: Admission[str] = Admission(100, 10)
    for start in (0.0, 10.0):
        assert [admission.admit("host", start) for _ in range(12)] == [True] * 10 + [False] * 2
