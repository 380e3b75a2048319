"""Snapshots that are made and removed by themselves. One test, since it waits for the next minute to begin."""

import time
from collections.abc import Callable

from tests.hosts import Host
from tests.hosts.waiting import wait_until

VOLUME = "/1.0/storage-pools/default/volumes/custom/scheduled"


def test_every_minute_snapshots_are_made_and_what_has_expired_goes(
    host: Host, guest: Callable[..., str], project: Callable[..., str]
) -> None:
    every = {"snapshots.schedule": "* * * * *", "snapshots.pattern": "auto%d", "snapshots.expiry": "1w"}
    running, resting = guest(config=every), guest(start=False, config=every)
    also = guest(start=False, config=every | {"snapshots.schedule.stopped": "true"})
    host.call("POST", "/1.0/storage-pools/default/volumes/custom", {"name": "scheduled", "config": every})
    jail = project("no-snapshots", restricted="true", features_images="false")
    root = {"root": {"type": "disk", "path": "/", "pool": "default"}}
    barred = {"name": "barred", "source": {"type": "none"}, "devices": root}
    barred["config"] = every | {"snapshots.schedule.stopped": "true"}
    host.call("POST", f"/1.0/instances?project={jail}", barred)
    host.call("POST", f"/1.0/storage-pools/default/volumes/custom?project={jail}", {"name": "barred", "config": every})
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    for path in (f"/1.0/instances/{running}", VOLUME):
        host.call("POST", f"{path}/snapshots", {"name": "old", "expires_at": soon})
        host.call("POST", f"{path}/snapshots", {"name": "kept", "expires_at": "0001-01-01T00:00:00Z"})

        host.call("POST", f"{path}/backups", {"name": "old", "expires_at": soon})

    def names(path: str) -> set[str]:
        return {url.rpartition("/")[2] for url in host.get(f"{path}/snapshots")}

    made = [f"/1.0/instances/{running}", f"/1.0/instances/{also}", VOLUME]
    wait_until(lambda: all("auto0" in names(path) for path in made), 90, what="the scheduled snapshots are made")

    for path in (f"/1.0/instances/{running}", VOLUME):
        wait_until(lambda path=path: "old" not in names(path), 90, what="the expired snapshot is removed")
        wait_until(lambda path=path: not host.get(f"{path}/backups"), 90, what="the expired backup is removed")
        assert "kept" in names(path)
    assert not names(f"/1.0/instances/{resting}")
    for path in ("/1.0/instances/barred", "/1.0/storage-pools/default/volumes/custom/barred"):
        assert host.get(f"{path}/snapshots?project={jail}") == []
    assert host.get(f"{VOLUME}/snapshots/auto0")["expires_at"] > host.get(f"{VOLUME}/snapshots/auto0")["created_at"]
    host.call("DELETE", VOLUME)
