"""The rendered manifests: valid for Kubernetes, and what the operations guide promises of them."""

import json
import re
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
from rendered_manifests import Manifest, containers, only, pods, render, workloads

from contract.settings import Settings

ROOT = Path(__file__).parents[2]
KUBERNETES = "1.34"  # the first that guarantees preStop's sleep
EVERY = ("base", "overlays/gpu", "overlays/postgres")
CUSTOM = ("ServiceMonitor",)


@pytest.fixture(params=EVERY)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(request.param)


def service_pod(manifests: list[Manifest]) -> Manifest:
    (pod,) = (pod for pod in pods(manifests) if pod["containers"][0]["name"] == "service")
    return pod


def settings_of(manifests: list[Manifest]) -> dict[str, str]:
    (found,) = (m["data"] for m in manifests if m["metadata"]["name"].startswith("ripen-settings-"))
    return dict(found)


def test_every_object_is_valid_for_kubernetes(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_a_wrong_field_would_be_found() -> None:
    broken = json.loads(json.dumps(only(render("base"), "StatefulSet")))
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_every_object_is_in_the_namespace(manifests: list[Manifest]) -> None:
    namespace = only(manifests, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {m["metadata"]["namespace"] for m in manifests if m["kind"] != "Namespace"} == {
        namespace["metadata"]["name"]
    }


def test_pods_meet_pod_security_restricted(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all(volume.keys() & {"secret", "emptyDir", "configMap"} for volume in pod["volumes"])


def test_containers_have_no_privilege_and_a_read_only_root(manifests: list[Manifest]) -> None:
    for container in containers(manifests):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/tmp", "/var/lib/ripen"} <= mounts


def test_containers_say_what_they_need_and_may_take(manifests: list[Manifest]) -> None:
    for container in containers(manifests):
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
    for pod in pods(manifests):
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_probes_ask_what_they_should(manifests: list[Manifest]) -> None:
    service = service_pod(manifests)["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in service["ports"]}
    assert ports == {"rest": 8501, "grpc": 8500}
    probes = {name: service[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    paths = {name: probe["path"] for name, probe in probes.items()}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert all((probe["scheme"], probe["port"]) == ("HTTPS", "rest") for probe in probes.values())
    assert service["readinessProbe"]["periodSeconds"] <= 2


def test_a_pod_has_the_time_to_drain(manifests: list[Manifest]) -> None:
    settings = Settings.from_environment(settings_of(manifests))
    pod = service_pod(manifests)
    sleep_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain_s = settings.drain_delay_s + settings.drain_timeout_s
    assert drain_s <= 30
    assert pod["terminationGracePeriodSeconds"] >= sleep_s + drain_s + 10


def test_the_service_is_reached_by_tls_and_its_settings_are_settings(manifests: list[Manifest]) -> None:
    environment = settings_of(manifests)
    settings = Settings.from_environment(environment)
    assert not settings.open
    pod = service_pod(manifests)
    (mounted,) = (m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "tls")
    assert environment["RIPEN_TLS_CERT"] == f"{mounted}/tls.crt"
    assert environment["RIPEN_TLS_KEY"] == f"{mounted}/tls.key"
    (secret,) = (volume["secret"] for volume in pod["volumes"] if volume["name"] == "tls")
    assert secret == {"secretName": "ripen-tls", "defaultMode": 0o440}


def test_no_variable_of_kubernetes_looks_like_a_setting(manifests: list[Manifest]) -> None:
    """A Service named ripen puts RIPEN_PORT and others into every pod, which the service would refuse."""
    assert all(pod["enableServiceLinks"] is False for pod in pods(manifests))


def test_containers_read_the_settings_of_this_rendering(manifests: list[Manifest]) -> None:
    (name,) = (m["metadata"]["name"] for m in manifests if m["metadata"]["name"].startswith("ripen-settings-"))
    for container in containers(manifests):
        assert {"configMapRef": {"name": name}} in container["envFrom"]


def test_selectors_find_their_pods(manifests: list[Manifest]) -> None:
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload in workloads(manifests)]
    for workload in workloads(manifests):
        assert workload["spec"]["selector"]["matchLabels"] == workload["spec"]["template"]["metadata"]["labels"]
    selectors = [m["spec"]["selector"] for m in manifests if m["kind"] == "Service"]
    selectors.append(only(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    selectors += [m["spec"]["podSelector"].get("matchLabels", {}) for m in manifests if m["kind"] == "NetworkPolicy"]
    for selector in selectors:
        assert any(selector.items() <= found.items() for found in labels), selector


def test_the_first_container_waits_for_a_key(manifests: list[Manifest]) -> None:
    pod = service_pod(manifests)
    (first,) = pod["initContainers"]
    assert first["command"] == ["python", "-m", "service", "wait-for-key"]
    assert first["image"] == pod["containers"][0]["image"]


def test_images_have_the_version_of_the_package(manifests: list[Manifest]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    targets = re.findall(r"^FROM runtime AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    images = {container["image"] for container in containers(manifests)}
    assert images <= {f"ripen-{target}:{version}" for target in targets}
    assert f'image.version="{version}"' in (ROOT / "Dockerfile").read_text()


def test_nothing_comes_in_or_goes_out_but_what_is_named(manifests: list[Manifest]) -> None:
    deny = only(manifests, "NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    clients, metrics = only(manifests, "NetworkPolicy", "ripen-clients")["spec"]["ingress"]
    assert [port["port"] for port in clients["ports"]] == ["rest", "grpc"]
    assert clients["from"][0]["podSelector"] == {"matchLabels": {"ripen-client": "true"}}
    assert [port["port"] for port in metrics["ports"]] == ["rest"]


def test_a_node_can_be_drained(manifests: list[Manifest]) -> None:
    assert only(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_prometheus_finds_the_service_and_shows_a_key(manifests: list[Manifest]) -> None:
    monitor = only(manifests, "ServiceMonitor")
    assert (monitor["apiVersion"], monitor.keys()) == (
        "monitoring.coreos.com/v1",
        {"apiVersion", "kind", "metadata", "spec"},
    )
    (endpoint,) = monitor["spec"]["endpoints"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = (m for m in manifests if m["kind"] == "Service" and wanted <= m["metadata"]["labels"].items())
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert (endpoint["scheme"], endpoint["path"]) == ("https", "/metrics")
    assert endpoint["authorization"]["credentials"] == {"name": "ripen-metrics-key", "key": "key"}


def test_dashboard_and_alerts_come_as_config_maps(manifests: list[Manifest]) -> None:
    dashboard = only(manifests, "ConfigMap", "ripen-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["ripen.json"])["title"] == "Ripen"
    assert "RipenDown" in only(manifests, "ConfigMap", "ripen-alerts")["data"]["alerts.yaml"]


def test_base_is_one_pod_over_one_volume() -> None:
    (workload,) = workloads(render("base"))
    assert (workload["kind"], workload["spec"]["replicas"]) == ("StatefulSet", 1)
    assert [c["name"] for c in workload["spec"]["template"]["spec"]["containers"]] == ["service", "worker"]
    (claim,) = workload["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    headless = only(render("base"), "Service", workload["spec"]["serviceName"])
    assert headless["spec"]["clusterIP"] == "None"


def test_gpu_gives_the_service_a_gpu_and_a_node_that_has_one() -> None:
    (pod,) = pods(render("overlays/gpu"))
    service, worker = pod["containers"]
    assert service["image"].startswith("ripen-service-gpu:")
    assert service["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "memory" in service["resources"]["limits"]
    assert "nvidia.com/gpu" not in worker["resources"]["limits"]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert not any("NVIDIA_VISIBLE_DEVICES" in json.dumps(c) for c in pod["containers"])


def test_postgres_keeps_no_state_in_the_cluster() -> None:
    rendered = render("overlays/postgres")
    service, worker = sorted(workloads(rendered), key=lambda workload: str(workload["metadata"]["name"]))
    assert (service["kind"], worker["kind"]) == ("Deployment", "Deployment")
    assert service["spec"]["replicas"] == 2
    assert service["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (spread,) = service["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == service["spec"]["selector"]["matchLabels"]
    assert not any("persistentVolumeClaim" in json.dumps(pod) for pod in pods(rendered))
    for container in containers(rendered):
        assert {"secretRef": {"name": "ripen-backends"}} in container["envFrom"]
