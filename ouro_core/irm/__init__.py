"""The IPC resource manager: names, programs, processes, flows, IPCPs; the daemon that serves it."""
