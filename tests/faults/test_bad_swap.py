"""A version that fails once it has taken over: the service itself gives the place back, and swaps between warm ones."""

from pathlib import Path

import httpx
import pytest
import service_process
import tiny_version

PICTURE = tiny_version.picture(1)


def ask(client: httpx.Client) -> tuple[int, float]:
    """The version and probability of an answer; (0, 0.0) for a 503."""
    answer = client.post("/api/v1/predict", content=PICTURE, headers={"content-type": "image/jpeg"})
    if answer.status_code == 503:
        return 0, 0.0
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["model"]["version"], body["predictions"][0]["probability"]


def change(client: httpx.Client, what: str) -> None:
    client.post(f"/api/v1/versions{what}", json={"reason": "a test"}).raise_for_status()


def test_a_failing_version_is_rolled_back_and_warm_versions_swap_at_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    wanted = {1: service_process.publish(home, 1, 0.0)}
    with service_process.started(home, RIPEN_ENGINE_THREADS=1, RIPEN_MAX_BATCH_SIZE=2) as process:
        process.wait_for(process.ready)
        client = process.client
        wanted[2] = service_process.publish(home, 2, 1.0, promote=False)
        change(client, "/2:promote")
        process.wait_for(lambda: ask(client)[0] == 2)

        bias = home / "storage" / "models" / "default" / "2" / "assets" / "bias.txt"
        bias.write_text("no number")  # this network reads it at each inference: from now on all fail
        process.wait_for(lambda: ask(client)[0] == 1)
        last = client.get("/api/v1/versions").json()["history"][0]
        assert (last["version"], last["replaced"], last["kind"]) == (1, 2, "rollback")
        assert "answers failed; at most 5.0% may" in last["reason"]
        (line,) = [one for one in client.get("/api/v1/audit").json()["entries"] if one["actor"] == "watch"]
        assert (line["action"], line["subject"]) == ("version_rolled_back", "default/1")
        assert 'ripen_automatic_rollbacks_total{model="default"} 1.0' in client.get("/metrics").text

        bias.write_text("1.0")
        for what, version in (("/2:promote", 2), (":rollback", 1), ("/2:promote", 2)):
            change(client, what)
            assert ask(client) == (version, pytest.approx(wanted[version], abs=1e-5))  # the very next request
