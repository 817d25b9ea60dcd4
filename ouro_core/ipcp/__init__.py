"""What hosts an IPCP: its life cycle and control, in a process of its own or in the caller's loop."""
