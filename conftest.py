"""All tests: as many open files as this user may have, as the daemon takes them; the usual soft limit is 1024. And
interrupts, which a shell takes from what it starts in the background, and from all that this starts.
"""

import resource
import signal

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
