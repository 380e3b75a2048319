"""What `hutch info INSTANCE` shows, in the order and words of LXD's client."""

from collections.abc import Iterator

from hutch.cli.columns import date, kind, state
from hutch.cli.progress import amount, binary_amount
from hutch.cli.table import Table, clean, terminal
from hutch.client.connection import Document

COUNTERS = ("bytes_received", "bytes_sent", "packets_received", "packets_sent")


def text(instance: Document) -> str:
    return "\n".join(_lines(instance))


def _lines(instance: Document) -> Iterator[str]:
    now = state(instance)
    yield f"Name: {instance['name']}"
    yield f"Status: {str(instance.get('status', '')).upper()}"
    yield f"Type: {kind(instance).lower()}"
    yield f"Architecture: {instance.get('architecture', '')}"
    if instance.get("description"):
        yield f"Description: {clean(instance['description'])}"
    if now.get("pid"):
        yield f"PID: {now['pid']}"
    yield f"Created: {date(instance.get('created_at'))}"
    if used := date(instance.get("last_used_at")):
        yield f"Last Used: {used}"
    resources = list(_resources(now))
    if resources:
        yield "\nResources:"
        yield from resources
    if instance.get("snapshots"):
        yield "\nSnapshots:"
        yield _snapshots(instance["snapshots"])


def _resources(now: Document) -> Iterator[str]:
    if now.get("processes", 0) > 0:
        yield f"  Processes: {now['processes']}"
    yield from _disks(now.get("disk") or {})
    if usage := (now.get("cpu") or {}).get("usage"):
        yield "  CPU usage:"
        yield f"    CPU usage (in seconds): {usage / 1e9:.0f}"
    yield from _memory(now.get("memory") or {})
    if now.get("network"):
        yield "  Network usage:"
        for name, link in sorted(now["network"].items()):
            yield from _link(clean(name), link)


def _disks(disks: Document) -> Iterator[str]:
    used = {name: disk["usage"] for name, disk in sorted(disks.items()) if disk.get("usage", 0) > 0}
    if used:
        yield "  Disk usage:"
        yield from (f"    {name}: {binary_amount(usage)}" for name, usage in used.items())


def _memory(memory: Document) -> Iterator[str]:
    labels = (
        ("usage", "Memory (current)"),
        ("usage_peak", "Memory (peak)"),
        ("swap_usage", "Swap (current)"),
        ("swap_usage_peak", "Swap (peak)"),
    )
    shown = [f"    {label}: {binary_amount(memory[key])}" for key, label in labels if memory.get(key)]
    if shown:
        yield "  Memory usage:"
        yield from shown


def _link(name: str, link: Document) -> Iterator[str]:
    yield f"    {name}:"
    yield f"      Type: {link.get('type', '')}"
    yield f"      State: {str(link.get('state', '')).upper()}"
    for key, label in (("host_name", "Host interface"), ("hwaddr", "MAC address"), ("mtu", "MTU")):
        if link.get(key):
            yield f"      {label}: {link[key]}"
    counters = link.get("counters") or {}
    for key in COUNTERS:
        value = counters.get(key, 0)
        label = key.replace("_", " ").capitalize()
        yield f"      {label}: {amount(value) if key.startswith('bytes') else value}"
    yield "      IP addresses:"
    for address in link.get("addresses") or []:
        yield f"        {address['family']}:  {address['address']}/{address['netmask']} ({address['scope']})"


def _snapshots(snapshots: list[Document]) -> str:
    rows = [
        [
            str(snapshot["name"]).rpartition("/")[2],
            date(snapshot.get("created_at")),
            date(snapshot.get("expires_at")),
            "YES" if snapshot.get("stateful") else "NO",
        ]
        for snapshot in snapshots
    ]
    return Table(["NAME", "TAKEN AT", "EXPIRES AT", "STATEFUL"], rows, terminal()).text().rstrip("\n")
