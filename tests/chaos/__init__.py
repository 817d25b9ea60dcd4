"""Processes of a host are killed at random moments, again and again; nothing may be left and everything must go on.

`python -m tests.chaos --rounds 200 --daemon-rounds 20` prints a summary line; the test beside it runs fewer rounds.
"""
