"""Requests over Unix stream sockets: asynchronous (`channel`), blocking (`blocking`), and who is at the other end."""
