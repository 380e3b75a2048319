"""Copy an instance, or make one from a snapshot."""

from typing import Any

from hutch import errors
from hutch.cli import between, copying, creation
from hutch.cli.command import Options, arg, command
from hutch.cli.session import Session, pairs
from hutch.client.connection import Document, url

VOLATILE_KEPT = ("volatile.base_image",)


@command(
    arg("source", metavar="SOURCE[/SNAPSHOT]", help="what to copy", complete="instance"),
    arg("name", nargs="?", metavar="NAME", help="the copy's name; on another server the same by default"),
    *creation.overrides(),
    arg("-s", "--storage", metavar="POOL", help="put the copy on this pool", complete="pool"),
    arg("--instance-only", action="store_true", help="without its snapshots"),
    arg("--refresh", action="store_true", help="bring an existing copy up to date"),
    arg("--allow-inconsistent", action="store_true", help="go on when files change while they are copied"),
    arg("--target-project", metavar="PROJECT", help="put the copy into this project"),
    *between.arguments(),
    example="""
    hutch copy c1 c2
    hutch copy c1/before-upgrade old --no-profiles
    hutch copy c1 far:c1 --refresh
    """,
    spans=True,
)
def run(session: Session, options: Options) -> None:
    instance, _, snapshot = options.source.partition("/")
    path = url("instances", instance, "snapshots", snapshot) if snapshot else url("instances", instance)
    options.name = options.name or instance
    wanted = _request(session.client.get(path), options)
    if session.target is not None:
        where = (options.target_project or "", options.mode or "")
        between.send(session, session.target, options.source, wanted, *where, doing=f"Copying {options.source}")
        return
    if options.name == instance and not (snapshot or options.target_project or options.refresh):
        raise errors.Invalid("name the copy")
    query = {}
    if options.target_project:
        query["project"] = options.target_project
        wanted["source"]["project"] = session.project
    reply = session.client.request("POST", "/1.0/instances", wanted, query=query)
    session.finish(reply, f"Copying {options.source}")


def _request(found: Document, options: Options) -> Document:
    """What LXD's client sends: the source's own settings with the flags over them."""
    config: dict[str, Any] = {
        key: value
        for key, value in (found.get("config") or {}).items()
        if not key.startswith("volatile.") or key in VOLATILE_KEPT
    }
    if options.refresh and options.instance_only and "/" in options.source:
        raise errors.Invalid("--refresh and --instance-only do not go with a snapshot")
    wanted = copying.request(found, options.name, config | pairs(options.config), options.storage or "")
    expanded = found.get("expanded_devices") or {}
    return wanted | {
        "devices": creation.merged(wanted["devices"], options.device, lambda: expanded),
        "profiles": [] if options.no_profiles else options.profile or found.get("profiles"),
        "ephemeral": bool(options.ephemeral or found.get("ephemeral")),
        "source": {
            "type": "copy",
            "source": options.source,
            "instance_only": options.instance_only,
            "container_only": options.instance_only,
            "refresh": options.refresh,
            "allow_inconsistent": options.allow_inconsistent,
        },
    }
