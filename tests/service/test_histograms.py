"""Our histograms are read by Prometheus as the library's own."""

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from service.histograms import LoopHistogram

NUMBERS = (0.0, 0.5, 0.50001, 1.0, 2.5, 7.0, 1e9)
BUCKETS = (0.5, 1, 5)


def lines(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_they_say_what_the_librarys_say() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = LoopHistogram("x_seconds", "Time.", ["who", "what"], buckets=BUCKETS, registry=ours)
    other = Histogram("x_seconds", "Time.", ["who", "what"], buckets=BUCKETS, registry=theirs)
    for labels in (("me", "a"), ("me", "b"), ('"you"', "a")):
        for number in NUMBERS:
            mine.of(*labels).observe(number)
            other.labels(*labels).observe(number)
    assert sorted(lines(ours)) == sorted(lines(theirs))


def test_series_can_be_removed() -> None:
    registry = CollectorRegistry()
    histogram = LoopHistogram("x", "X.", ["who", "what"], buckets=BUCKETS, registry=registry)
    for labels in (("me", "a"), ("me", "b"), ("you", "a")):
        histogram.of(*labels).observe(1)
    histogram.remove("me", "a")
    histogram.remove("nobody", "a")
    assert len([line for line in lines(registry) if "_count" in line]) == 2
    histogram.remove_by_labels({"who": "me"})
    assert [line for line in lines(registry) if "_count" in line] == ['x_count{what="a",who="you"} 1.0']
