"""`python -m tests.suites`: every key exchange with every cipher and every kdf, through allocations of a real daemon.

A combination passes when a flow is allocated between two processes with an enc.conf that says so on either side, when
the log shows that cipher and that kdf in the server's answer, when both ends logged one key that no other flow had, and
when packets go both ways. Suites are those that plugins register, so a plugin's take part as soon as it is installed;
one that is not available is named with the reason.
"""
