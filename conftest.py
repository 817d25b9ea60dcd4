"""All tests: as many open files as this user may have, as the daemon takes them. The usual soft limit is 1024."""

import resource

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
