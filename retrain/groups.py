"""Which newcomers stay together with what is there already, and which bucket that gives them: pure. LINE B, split.

A bucket once given is for life. What looks the same, and what a user gave the same group, is in one bucket or in none.
Where a user named two groups himself, they are not joined, however alike their images are: only he can know that two
pictures of one scene are two things.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from contract.leak_audit import BRIDGES, Exclusion, LeakAudit
from contract.records import Bucket, Example

Pairs = Iterable[tuple[int, int]]


@dataclass(frozen=True)
class Settlement:
    """All images with what they have from now on, in the order in which they came, and what was found."""

    examples: tuple[Example, ...]
    audit: LeakAudit


def settle(examples: Sequence[Example], pairs: Pairs) -> Settlement:
    """Give newcomers their groups and buckets.

    Args:
        examples: all that may be used, settled ones and newcomers, in any order; none is excluded yet.
        pairs: places of two images that look the same, at least where one is a newcomer or their buckets differ.

    Returns:
        The settled ones as they were. A newcomer has the bucket of what it resembles: of settled images, else of those
        whose bucket a user named, else of the eldest. One that resembles two buckets is in none.
    """
    known = list(pairs)
    after, exclusions = _Placing(examples, known).run()
    return Settlement(after, _audit(examples, after, known, exclusions))


class _Placing:
    """Union-find over group names; a root knows the buckets that are given for life, and its images so far."""

    def __init__(self, examples: Sequence[Example], pairs: Pairs) -> None:
        self._examples = examples
        self._alike: dict[int, list[int]] = defaultdict(list)
        for one, other in pairs:
            if not (examples[one].group_named and examples[other].group_named):
                self._alike[one].append(other)
                self._alike[other].append(one)
        self._above: dict[str, str] = {}
        self._given: dict[str, set[Bucket]] = defaultdict(set)
        self._members: dict[str, list[Example]] = defaultdict(list)

    def run(self) -> tuple[tuple[Example, ...], tuple[Exclusion, ...]]:
        """Place each, and return all with what they have from now on, and what was kept out."""
        exclusions: dict[int, Exclusion] = {}
        placed: set[int] = set()
        for place in sorted(range(len(self._examples)), key=lambda place: _rank(self._examples[place])):
            example = self._examples[place]
            roots = {self._root(example.group_id)}
            if not example.settled:
                roots |= {self._root(self._examples[other].group_id) for other in self._alike[place] if other in placed}
            given = set[Bucket]().union(*(self._given[root] for root in roots), _given(example))
            if len(given) > 1 and not example.settled:
                exclusions[place] = Exclusion(example.id, BRIDGES, self._oldest(roots))
                continue
            self._join(example, roots, given)
            placed.add(place)
        final = (self._final(one, excluded=place in exclusions) for place, one in enumerate(self._examples))
        return tuple(final), tuple(exclusions[place] for place in sorted(exclusions))

    def _root(self, group: str) -> str:
        while (above := self._above.get(group, group)) != group:
            self._above[group] = self._above.get(above, above)  # halves the way of the next one
            group = above
        return group

    def _join(self, example: Example, roots: set[str], given: set[Bucket]) -> None:
        root, *others = sorted(roots)
        for other in others:
            self._above[other] = root
            self._members[root] += self._members.pop(other, [])
        self._members[root].append(example)
        self._given[root] = given

    def _oldest(self, roots: set[str]) -> tuple[str, ...]:
        """The image that each root's bucket comes from."""
        return tuple(min(self._members[root], key=_rank).id for root in sorted(roots) if self._given[root])

    def _final(self, example: Example, *, excluded: bool) -> Example:
        if example.settled:
            return example
        if excluded:
            return replace(example, bucket=Bucket.EXCLUDED, settled=True)
        root = self._root(example.group_id)
        first = min(self._members[root], key=_rank)
        bucket = next(iter(self._given[root]), first.bucket)
        group_id = example.group_id if example.group_named else first.group_id
        return replace(example, bucket=bucket, group_id=group_id, settled=True)


def _rank(example: Example) -> tuple[bool, bool, bool, str]:
    """Settled ones first, then those of trusted contributors, then those with a bucket that was named, then by age."""
    return not example.settled, not example.trusted, not example.bucket_named, example.id


def _given(example: Example) -> set[Bucket]:
    return {example.bucket} if example.settled or example.bucket_named else set()


def _audit(
    before: Sequence[Example], after: Sequence[Example], pairs: Pairs, kept_out: Sequence[Exclusion]
) -> LeakAudit:
    sizes = Counter(one.group_id for one in after if one.bucket is not Bucket.EXCLUDED)
    seen = [(after[one], after[other]) for one, other in pairs]
    used = [pair for pair in seen if Bucket.EXCLUDED not in (pair[0].bucket, pair[1].bucket)]
    return LeakAudit(
        images=len(after),
        groups=len(sizes),
        largest_group=max(sizes.values(), default=0),
        newcomers=sum(not one.settled for one in before),
        joined=sum(old.group_id != new.group_id for old, new in zip(before, after, strict=True)),
        exclusions=tuple(kept_out),
        holdout_exclusions=sum(one.bucket is Bucket.EXCLUDED and one.bucket_named for one in after),
        across=sum(one.bucket is not other.bucket for one, other in used),
        disagreements=sum(one.label != other.label for one, other in seen),
    )
