"""What a check of `ripen doctor` says where something is not as it should be. Neither line."""


class Wrong(Exception):
    """Found by a check; never leaves `doctor`.

    Args:
        says: what was found.
        advice: what to do.
    """

    def __init__(self, says: str, advice: str) -> None:
        super().__init__(says)
        self.says = says
        self.advice = advice


def name_some(names: list[str]) -> str:
    """The first few of many, in words."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
