"""Two hosts that trust each other, and instances sent between them."""

from typing import Any

from tests.hosts import Host, Segment, images

PORT = 8443


def connected(make: Any, segment: Segment, *, driver: str = "overlay", image: bool = True) -> Host:
    """A host with a pool, the image `busybox`, and HTTPS on the segment."""
    host: Host = make(segment=segment)
    host.prepare(driver=driver)
    if image:
        host.import_image(images.built("busybox"), "busybox")
    host.call("PATCH", "/1.0", {"config": {"core.https_address": f"{host.address}:{PORT}"}})
    return host


def certificate(host: Host) -> str:
    return str(host.get("/1.0")["environment"]["certificate"])


def url(host: Host, operation: str) -> str:
    return f"https://{host.address}:{PORT}{operation}"


def offer(host: Host, name: str, **wanted: Any) -> dict[str, Any]:
    """The operation of a source that waits for a sink."""
    path = "/1.0/instances/" + name.replace("/", "/snapshots/")
    return host.api.begin("POST", path, {"name": name, "migration": True, **wanted})


def wish(source: Host, name: str, **how: Any) -> dict[str, Any]:
    """What a client tells a sink of the instance, with `how` it comes."""
    found = source.get(f"/1.0/instances/{name}")
    base = found["config"].get("volatile.base_image", "")
    config = {key: value for key, value in found["config"].items() if not key.startswith("volatile.")}
    kept = {key: found[key] for key in ("architecture", "devices", "profiles", "ephemeral", "description")}
    return kept | {"config": config, "source": {"type": "migration", "base-image": base, **how}}


def pull(source: Host, sink: Host, name: str, new: str = "", **how: Any) -> dict[str, Any]:
    """Copy by a sink that connects to the source; the sink's operation at its end."""
    offered = offer(source, name, instance_only=how.get("instance_only", False))
    where = {"operation": url(source, offered["operation"]), "certificate": certificate(source)}
    asked = wish(source, name, mode="pull", secrets=offered["metadata"]["metadata"], **where, **how)
    done: dict[str, Any] = sink.call("POST", "/1.0/instances", asked | {"name": new or name})
    source.api.wait(offered["operation"])
    return done


def push(source: Host, sink: Host, name: str, new: str = "", **how: Any) -> None:
    """Copy by a source that connects to the sink."""
    asked = wish(source, name, mode="push", **how)
    waiting = sink.api.begin("POST", "/1.0/instances", asked | {"name": new or name})
    target = {
        "operation": url(sink, waiting["operation"]),
        "secrets": waiting["metadata"]["metadata"],
        "certificate": certificate(sink),
    }
    source.call("POST", f"/1.0/instances/{name}", {"name": name, "migration": True, "target": target})
    sink.api.wait(waiting["operation"])
