"""Who may do what: roles, API keys, and the log of what was done. LINE A step 1, LINE B step 1.

Source of the form: a key is `ripen_<id>_<secret>`; 256 random bits need no slow hash.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a key may do. None implies another."""

    PREDICT = "predict"
    LABEL = "label"
    TRAIN = "train"
    PROMOTE = "promote"
    OBSERVE = "observe"
    ADMIN = "admin"


@dataclass(frozen=True)
class ApiKey:
    """One key of a client. It is shown once and never stored: `digest` is the sha256 of its secret, in hex."""

    id: str  # 12 hex digits, not secret: names the key in lists and in the audit log
    client: str
    roles: frozenset[Role]
    digest: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    trusted: bool = True  # as a contributor of labelled images

    def live(self, now: datetime) -> bool:
        """Whether it opens anything at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class AuditAction(StrEnum):
    """What the audit log keeps."""

    KEY_ADDED = "key_added"
    KEY_REVOKED = "key_revoked"
    VERSION_PROMOTED = "version_promoted"
    VERSION_ROLLED_BACK = "version_rolled_back"
    VERSION_PINNED = "version_pinned"
    VERSION_UNPINNED = "version_unpinned"
    VERSION_PRUNED = "version_pruned"
    EXAMPLE_DELETED = "example_deleted"
    MODEL_CREATED = "model_created"
    MODEL_DELETED = "model_deleted"
    MODEL_PINNED = "model_pinned"
    MODEL_UNPINNED = "model_unpinned"


LOCAL_ACTOR = "local"  # whoever reaches an open loopback port or the machine itself


@dataclass(frozen=True)
class Contributor:
    """Who supplies labelled images: a key's client. What one who is not trusted supplies never judges a version."""

    name: str
    trusted: bool


LOCAL_CONTRIBUTOR = Contributor(LOCAL_ACTOR, trusted=True)


@dataclass(frozen=True)
class AuditEntry:
    """One line of the audit log. Lines are only added; each holds the digest of the one before, so a change shows.

    `digest` is the sha256, in hex, of `previous_digest` and the line's own fields.
    """

    sequence: int  # from 1, without gaps
    at: datetime
    actor: str  # a key as `<client>/<key id>`, `local`, or `job/<job id>` for the gate
    action: AuditAction
    subject: str  # what it was done to: `model/3`, an example's or a key's id
    detail: str
    previous_digest: str
    digest: str
