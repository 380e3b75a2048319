"""Metrics of guests and of the daemon, read by Prometheus's own parser."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.hosts import Host, wait_until

Samples = dict[str, list[tuple[dict[str, str], float]]]


def _samples(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def _metrics(host: Host, query: str = "") -> Samples:
    status, headers, text = host.api.raw("GET", f"/1.0/metrics{query}")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    assert text.endswith(b"# EOF\n")
    return _samples(text.decode())


@pytest.fixture(scope="module")
def measured(host: Host) -> Iterator[str]:
    host.create("measured", "busybox", config={"limits.memory": "100MiB"})
    host.address_of("measured")
    yield "measured"
    host.delete("measured")


def _of(samples: Samples, name: str, guest: str) -> list[tuple[dict[str, str], float]]:
    return [each for each in samples[name] if each[0].get("name") == guest]


def test_a_guest_is_measured_under_lxds_names(host: Host, measured: str) -> None:
    host.exec(measured, "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
    found = wait_until(lambda: _seen(host, measured), 15, every=0.5)
    labels, total = _of(found, "lxd_memory_MemTotal_bytes", measured)[0]
    assert (labels, total) == ({"name": measured, "project": "default", "type": "container"}, 100 * 1024 * 1024)
    assert 0 < _of(found, "lxd_memory_MemFree_bytes", measured)[0][1] < total
    assert sum(seconds for _, seconds in _of(found, "lxd_cpu_seconds_total", measured)) > 0.05
    assert {labels["mode"] for labels, _ in _of(found, "lxd_cpu_seconds_total", measured)} == {"user", "system"}
    assert {labels["device"] for labels, _ in _of(found, "lxd_network_receive_bytes_total", measured)} == {"lo", "eth0"}
    assert max(value for _, value in _of(found, "lxd_network_transmit_packets_total", measured)) > 0
    assert 1 <= _of(found, "lxd_procs_total", measured)[0][1] < 20
    assert _of(found, "lxd_memory_OOM_kills_total", measured)[0][1] == 0
    assert _of(found, "lxd_filesystem_size_bytes", measured)[0][1] > 1 << 20
    assert found["lxd_uptime_seconds"][0][1] > 0
    assert ("lxd_operations_total" in found, "lxd_warnings_total" in found) == (True, True)
    assert not [name for name in found if name.startswith("lxd_go_")]


def _seen(host: Host, guest: str) -> Samples:
    """The samples, once the guest is in them: what was measured before it began is shown for a while."""
    found = _metrics(host)
    there = (
        [value for _, value in _of(found, "lxd_cpu_seconds_total", guest)] if "lxd_cpu_seconds_total" in found else []
    )
    return found if sum(there) > 0.05 else {}


def test_a_project_is_shown_alone(host: Host, measured: str) -> None:
    wait_until(lambda: _seen(host, measured), 15, every=0.5)
    assert {labels["project"] for labels, _ in _metrics(host, "?project=default")["lxd_procs_total"]} == {"default"}
    assert _metrics(host, "?project=elsewhere") == {}


def test_one_measurement_serves_for_a_while(host: Host, measured: str) -> None:
    wait_until(lambda: _seen(host, measured), 15, every=0.5)
    start = time.monotonic()
    first = [_metrics(host)["lxd_cpu_seconds_total"] for _ in range(5)]
    assert len({str(each) for each in first}) <= 2
    assert time.monotonic() - start < 5


def test_a_certificate_for_metrics_is_good_for_them_alone(host: Host, measured: str, tmp_path: Path) -> None:
    certificate, key = tmp_path / "prometheus.crt", tmp_path / "prometheus.key"
    about = ["-nodes", "-subj", "/CN=prometheus", "-keyout", str(key), "-out", str(certificate)]
    host.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *about)
    wanted = {"type": "metrics", "name": "prometheus", "restricted": True, "projects": ["default"]}
    body = "".join(line for line in certificate.read_text().splitlines(True) if not line.startswith("-"))
    host.call("POST", "/1.0/certificates", wanted | {"certificate": body})
    host.call("PATCH", "/1.0", {"config": {"core.https_address": "127.0.0.1:8443"}})

    def ask(path: str) -> tuple[str, str]:
        words = ["curl", "-sk", "--cert", str(certificate), "--key", str(key), "-w", "%{http_code}"]
        text = host.run(*words, f"https://127.0.0.1:8443{path}").stdout
        return text[-3:], text[:-3]

    try:
        status, text = ask("/1.0/metrics")
        assert status == "200"
        found = _samples(text)
        assert {labels["project"] for labels, _ in found["lxd_procs_total"]} == {"default"}
        assert "lxd_uptime_seconds" not in found
        assert ask("/1.0/metrics?project=other")[0] == "403"
        assert ask("/1.0/instances")[0] == "403"
    finally:
        host.call("PATCH", "/1.0", {"config": {"core.https_address": ""}})
        for each in host.get("/1.0/certificates?recursion=1"):
            host.call("DELETE", f"/1.0/certificates/{each['fingerprint']}")


def test_they_have_an_address_of_their_own(host: Host, measured: str) -> None:
    def ask(path: str) -> str:
        words = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", f"https://127.0.0.1:8444{path}"]
        return host.run(*words, check=False).stdout

    assert ask("/1.0/metrics") == "000"
    host.call("PATCH", "/1.0", {"config": {"core.metrics_address": "127.0.0.1:8444"}})
    try:
        assert ask("/1.0/metrics") == "403"
        host.call("PATCH", "/1.0", {"config": {"core.metrics_authentication": "false"}})
        assert ask("/1.0/metrics") == "200"
        assert ask("/1.0/instances") == "404"
        host.restart()
        assert ask("/1.0/metrics") == "200"
    finally:
        host.call("PATCH", "/1.0", {"config": {"core.metrics_address": "", "core.metrics_authentication": ""}})
    assert ask("/1.0/metrics") == "000"
