"""An open-loop load: connections over REST and gRPC that send at a fixed rate, whatever the answers do.

Each connection is a thread with a schedule of its own; latency is measured from the scheduled time, so that a stall is
seen by every request that it delays (no coordinated omission).
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import grpc
import httpx

from protos import ripen_v1_pb2, ripen_v1_pb2_grpc

Send = Callable[[int], tuple[int, float]]  # index of an image -> (version, probability)


@dataclass(frozen=True)
class Reply:
    """One request's outcome. `error` is empty for an answer; times are seconds of the monotonic clock."""

    protocol: str
    connection: int
    image: int
    scheduled_s: float
    finished_s: float
    version: int = 0
    probability: float = 0.0
    error: str = ""

    @property
    def latency_s(self) -> float:
        return self.finished_s - self.scheduled_s


@dataclass
class OpenLoop:
    """`connections` alternate between REST and gRPC and together send `rate` requests per second until `stop`."""

    rest_url: str
    grpc_address: str
    images: Sequence[bytes]
    connections: int = 8
    rate: float = 60.0
    replies: list[Reply] = field(default_factory=list)

    def start(self) -> "OpenLoop":
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._connection, args=(number,), daemon=True) for number in range(self.connections)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> list[Reply]:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in self._threads)
        return sorted(self.replies, key=lambda reply: reply.finished_s)

    def _connection(self, number: int) -> None:
        if number % 2:
            with grpc.insecure_channel(self.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                self._send_on_schedule("grpc", number, self._grpc_sender(channel))
        else:
            with httpx.Client(base_url=self.rest_url, timeout=30) as client:
                self._send_on_schedule("rest", number, self._rest_sender(client))

    def _send_on_schedule(self, protocol: str, number: int, send: Send) -> None:
        interval_s = self.connections / self.rate
        scheduled_s = time.monotonic() + interval_s * number / self.connections
        for turn in itertools.count():
            if self._stopping.wait(max(0.0, scheduled_s - time.monotonic())):
                return
            image = (turn * self.connections + number) % len(self.images)
            self.replies.append(_reply(protocol, number, image, scheduled_s, send))
            scheduled_s += interval_s

    def _rest_sender(self, client: httpx.Client) -> Send:
        def send(image: int) -> tuple[int, float]:
            answer = client.post("/api/v1/predict", content=self.images[image], headers={"content-type": "image/jpeg"})
            assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
            body = answer.json()
            return body["model"]["version"], body["predictions"][0]["probability"]

        return send

    def _grpc_sender(self, channel: grpc.Channel) -> Send:
        stub = ripen_v1_pb2_grpc.ClassifierStub(channel)

        def send(image: int) -> tuple[int, float]:
            request = ripen_v1_pb2.ClassifyRequest(images=[ripen_v1_pb2.Image(data=self.images[image])])
            answer = stub.Classify(request, timeout=30)
            return answer.model.version, answer.predictions[0].probability

        return send


def _reply(protocol: str, number: int, image: int, scheduled_s: float, send: Send) -> Reply:
    try:
        version, probability = send(image)
    except grpc.RpcError as error:
        text = f"{error.code().name} {error.details()}"
        return Reply(protocol, number, image, scheduled_s, time.monotonic(), error=text)
    except (AssertionError, httpx.HTTPError) as error:
        return Reply(protocol, number, image, scheduled_s, time.monotonic(), error=str(error) or repr(error))
    return Reply(protocol, number, image, scheduled_s, time.monotonic(), version, probability)


def percentile(replies: Sequence[Reply], share: float) -> float:
    """The latency in seconds that `share` of the replies stay below."""
    ordered = sorted(reply.latency_s for reply in replies)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
