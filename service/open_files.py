"""How many files and connections this process may hold open. Before LINE A."""

import resource


def allow_all_open_files() -> None:
    """Raise the soft limit, often 1024, to the hard one: each connection is an open file."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
