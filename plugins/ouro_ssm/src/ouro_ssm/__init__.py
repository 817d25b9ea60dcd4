"""Packets of local flows in shared memory: the packet system `ssm`."""
