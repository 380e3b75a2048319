"""Custom volumes: made, changed, given to guests, snapshotted, copied and moved."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.hosts import ApiError, Host, images

_numbers = itertools.count(1)
Guest = Callable[..., str]


@pytest.fixture(scope="module")
def store() -> Iterator[Host]:
    """A host with a pool of each driver."""
    with Host() as made:
        made.prepare()
        made.import_image(images.built("busybox"), "busybox")
        made.call("POST", "/1.0/storage-pools", {"name": "dir", "driver": "dir"})
        made.call("POST", "/1.0/storage-pools", {"name": "btrfs", "driver": "btrfs", "config": {"size": "512MiB"}})
        yield made


@pytest.fixture(params=["default", "btrfs", "dir"])
def pool(request: pytest.FixtureRequest) -> str:
    """Pools of every driver; `default` is overlay's."""
    name: str = request.param
    return name


@pytest.fixture
def guest(store: Host) -> Iterator[Guest]:
    names: list[str] = []

    def make(start: bool = True, **document: Any) -> str:
        names.append(f"user{next(_numbers)}")
        store.create(names[-1], "busybox", start=start, **document)
        return names[-1]

    yield make
    for name in names:
        if store.api.exists(f"/1.0/instances/{name}"):
            store.delete(name)


def url(pool: str, name: str = "", *words: str) -> str:
    return "/".join([f"/1.0/storage-pools/{pool}/volumes/custom", *([name] if name else []), *words])


def volume(host: Host, pool: str, **document: Any) -> str:
    name = f"volume{next(_numbers)}"
    host.call("POST", url(pool), {"name": name, "type": "custom", **document})
    return name


def disk(pool: str, name: str, **keys: str) -> dict[str, dict[str, str]]:
    return {"data": {"type": "disk", "pool": pool, "source": name, "path": "/srv", **keys}}


def write(host: Host, guest: str, text: str) -> None:
    host.exec(guest, "sh", "-c", f"echo {text} > /srv/file")


def read(host: Host, guest: str) -> str:
    return host.exec(guest, "cat", "/srv/file").stdout.strip()


def test_a_volume_is_made_changed_and_deleted(store: Host, pool: str) -> None:
    name = volume(store, pool, description="first", config={"user.a": "1"})

    store.call("PATCH", url(pool, name), {"config": {"user.b": "2"}})
    found = store.get(url(pool, name))
    assert (found["type"], found["content_type"], found["pool"]) == ("custom", "filesystem", pool)
    assert (found["description"], found["config"]) == ("first", {"user.a": "1", "user.b": "2"})
    assert url(pool, name) in store.get(f"/1.0/storage-pools/{pool}/volumes")
    filtered = store.get(f"{url(pool)}?recursion=1&filter=name%20eq%20{name}")
    assert [each["name"] for each in filtered] == [name]
    assert url(pool, name) in store.get(f"/1.0/storage-pools/{pool}")["used_by"]

    store.call("DELETE", url(pool, name))
    assert not store.api.exists(url(pool, name))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"name": "a/b"}, "Invalid storage volume name"),
        ({"name": ""}, "Invalid storage volume name"),
        ({"name": "x", "type": "container"}, "not allowed"),
        ({"name": "x", "config": {"sise": "1"}}, "did you mean size"),
        ({"name": "x", "config": {"snapshots.schedule": "61 * * * *"}}, "between 0 and 59"),
        ({"name": "x", "config": {"security.shifted": "true", "security.unmapped": "true"}}, "exclude"),
        ({"name": "x", "content_type": "tape"}, "Invalid content type"),
        ({"name": "x", "source": {"type": "copy", "name": "nobody"}}, "Storage volume not found"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(store: Host, document: dict[str, Any], says: str) -> None:
    with pytest.raises(ApiError, match=says):
        store.call("POST", url("default"), {"type": "custom", **document})


def test_a_name_is_used_once(store: Host) -> None:
    name = volume(store, "default")
    with pytest.raises(ApiError, match="already exists"):
        store.call("POST", url("default"), {"name": name, "type": "custom"})
    store.call("DELETE", url("default", name))


def test_two_guests_share_a_volume_and_its_owners(store: Host, pool: str, guest: Guest) -> None:
    name = volume(store, pool)
    one, two = guest(devices=disk(pool, name)), guest(devices=disk(pool, name, readonly="true"))

    store.exec(one, "sh", "-c", "echo hello > /srv/file; chown 33 /srv/file")
    assert read(store, two) == "hello"
    assert store.exec(two, "stat", "-c", "%u", "/srv", "/srv/file").stdout.split() == ["0", "33"]
    assert "Read-only" in store.exec(two, "touch", "/srv/other", check=False).stderr
    assert set(store.get(url(pool, name))["used_by"]) == {f"/1.0/instances/{one}", f"/1.0/instances/{two}"}

    with pytest.raises(ApiError, match="still in use by"):
        store.call("DELETE", url(pool, name))


def test_a_volume_is_plugged_and_unplugged_and_survives_restarts(store: Host, pool: str, guest: Guest) -> None:
    name, made = volume(store, pool), guest()

    store.call("PATCH", f"/1.0/instances/{made}", {"devices": disk(pool, name)})
    write(store, made, "kept")
    store.restart()
    assert read(store, made) == "kept"
    second = guest(devices=disk(pool, name))
    write(store, second, "shared")
    assert read(store, made) == "shared"
    store.power(made, "restart", force=True)
    assert read(store, made) == "shared"

    store.call("PUT", f"/1.0/instances/{made}", {"profiles": ["default"], "devices": {}})
    assert store.exec(made, "ls", "/srv").stdout == ""
    store.delete(second)
    store.call("DELETE", url(pool, name))


def test_a_volume_is_shifted_for_each_guest_as_it_needs(store: Host, guest: Guest) -> None:
    name = volume(store, "dir")
    plain = guest(devices=disk("dir", name))
    privileged = guest(config={"security.privileged": "true"}, devices=disk("dir", name))
    write(store, plain, "inside")
    assert store.exec(privileged, "stat", "-c", "%u", "/srv/file").stdout == "0\n"
    assert read(store, privileged) == "inside"


def test_an_overlay_volume_is_not_shared_between_unlike_guests(store: Host, guest: Guest) -> None:
    name = volume(store, "default")
    guest(devices=disk("default", name))
    with pytest.raises(ApiError, match="other ids"):
        guest(config={"security.privileged": "true"}, devices=disk("default", name))


def test_an_unmapped_volume_shows_ids_as_they_are_stored(store: Host, pool: str, guest: Guest) -> None:
    name = volume(store, pool, config={"security.unmapped": "true"})
    made = guest(devices=disk(pool, name))
    assert store.exec(made, "stat", "-c", "%u", "/srv").stdout == "65534\n"
    with pytest.raises(ApiError, match="shifting"):
        store.call("PATCH", url(pool, name), {"config": {"security.unmapped": "false"}})


def test_what_cannot_be_attached_is_named(store: Host, guest: Guest) -> None:
    with pytest.raises(ApiError, match="'nobody' not found in pool 'default'"):
        guest(start=False, devices=disk("default", "nobody"))
    block = volume(store, "default", content_type="block", config={"size": "1MiB"})
    with pytest.raises(ApiError, match="Custom block volumes cannot be used on containers"):
        guest(start=False, devices=disk("default", block))
    store.call("DELETE", url("default", block))


def test_snapshots_are_made_restored_renamed_changed_and_deleted(store: Host, pool: str, guest: Guest) -> None:
    name = volume(store, pool)
    made = guest(devices=disk(pool, name))
    write(store, made, "one")
    store.call("POST", url(pool, name, "snapshots"), {"name": "s1", "description": "first"})
    write(store, made, "two")
    store.call("POST", url(pool, name, "snapshots"), {})

    listed = store.get(url(pool, name, "snapshots") + "?recursion=1")
    assert [each["name"] for each in listed] == [f"{name}/s1", f"{name}/snap0"]
    with pytest.raises(ApiError, match="used by running instances"):
        store.call("PUT", url(pool, name), {"restore": "s1"})
    store.power(made, "stop", force=True)
    store.call("PUT", url(pool, name), {"restore": "s1"})
    store.power(made, "start")
    assert read(store, made) == "one"

    store.call("POST", url(pool, name, "snapshots", "snap0"), {"name": "s2"})
    store.call("PUT", url(pool, name, "snapshots", "s2"), {"description": "x", "expires_at": "2100-01-02T03:04:05Z"})
    found = store.get(url(pool, name, "snapshots", "s2"))
    assert (found["description"], found["expires_at"]) == ("x", "2100-01-02T03:04:05Z")
    store.call("DELETE", url(pool, name, "snapshots", "s1"))
    assert store.get(url(pool, name, "snapshots")) == [url(pool, name, "snapshots", "s2")]


def test_the_pattern_names_snapshots_and_the_expiry_ends_them(store: Host) -> None:
    pattern = "auto-{{ creation_date|date:'2006' }}-%d"
    name = volume(store, "default", config={"snapshots.pattern": pattern, "snapshots.expiry": "1d"})
    for _ in range(2):
        store.call("POST", url("default", name, "snapshots"), {})
    found = store.get(url("default", name, "snapshots") + "?recursion=1")
    year = found[0]["created_at"][:4]
    assert [each["name"] for each in found] == [f"{name}/auto-{year}-0", f"{name}/auto-{year}-1"]
    assert found[0]["expires_at"] > found[0]["created_at"]
    store.call("DELETE", url("default", name))


@pytest.mark.parametrize("target", ["default", "btrfs", "dir"])
def test_copies_within_and_between_pools_take_the_snapshots_along(
    store: Host, pool: str, target: str, guest: Guest
) -> None:
    name = volume(store, pool)
    made = guest(devices=disk(pool, name))
    for text in ("one", "two"):
        write(store, made, text)
        store.exec(made, "sh", "-c", f"touch /srv/only-{text}; rm -f /srv/only-one-but-{text}")
        store.call("POST", url(pool, name, "snapshots"), {"name": text})
    store.exec(made, "sh", "-c", "rm /srv/only-one; ln /srv/file /srv/link; chown 7:8 /srv/file")
    write(store, made, "three")

    copied, old = f"{name}-copy-{target}", f"{name}-old-{target}"
    store.call("POST", url(target), {"name": copied, "source": {"type": "copy", "name": name, "pool": pool}})
    source = {"type": "copy", "name": f"{name}/one", "pool": pool}
    store.call("POST", url(target), {"name": old, "source": source})

    other = guest(devices=disk(target, copied))
    assert read(store, other) == "three"
    assert store.exec(other, "ls", "/srv").stdout.split() == ["file", "link", "only-two"]
    assert store.exec(other, "stat", "-c", "%u:%g %h", "/srv/link").stdout == "7:8 2\n"
    store.power(other, "stop", force=True)
    store.call("PUT", url(target, copied), {"restore": "one"})
    store.power(other, "start")
    assert read(store, other) == "one"
    assert store.exec(other, "ls", "/srv").stdout.split() == ["file", "only-one"]
    assert read(store, guest(devices=disk(target, old))) == "one"
    assert read(store, made) == "three"
    assert len(store.get(url(target, copied, "snapshots"))) == 2
    assert not store.get(url(target, old, "snapshots"))


def test_what_has_a_volume_follows_it_to_its_new_name_and_pool(store: Host, guest: Guest) -> None:
    name = volume(store, "default")
    made = guest(devices=disk("default", name))
    write(store, made, "moved")
    with pytest.raises(ApiError, match="in use by running instances"):
        store.call("POST", url("default", name), {"name": "other"})
    store.power(made, "stop", force=True)

    store.call("POST", url("default", name), {"name": f"{name}-new"})
    assert store.get(f"/1.0/instances/{made}")["devices"]["data"]["source"] == f"{name}-new"
    store.call("POST", url("default", f"{name}-new"), {"name": name, "pool": "btrfs"})

    assert store.get(f"/1.0/instances/{made}")["devices"]["data"]["pool"] == "btrfs"
    assert not store.api.exists(url("default", f"{name}-new"))
    store.power(made, "start")
    assert read(store, made) == "moved"


def test_the_pools_defaults_are_taken_over_and_a_size_holds(store: Host, guest: Guest) -> None:
    store.call("PATCH", "/1.0/storage-pools/btrfs", {"config": {"volume.size": "20MiB"}})
    name = volume(store, "btrfs")
    store.call("PATCH", "/1.0/storage-pools/btrfs", {"config": {"volume.size": ""}})
    assert store.get(url("btrfs", name))["config"]["size"] == "20MiB"

    made = guest(devices=disk("btrfs", name))
    fill = ("sh", "-c", "dd if=/dev/zero of=/srv/big bs=1M count=40 && sync")
    assert store.exec(made, *fill, check=False).returncode != 0
    store.call("PATCH", url("btrfs", name), {"config": {"size": "100MiB"}})
    store.exec(made, *fill)

    usage = store.get(url("btrfs", name, "state"))["usage"]
    assert usage["used"] > 30 << 20
    assert usage["total"] == 100 << 20


def test_a_block_volume_grows_and_does_not_shrink(store: Host, pool: str) -> None:
    name = volume(store, pool, content_type="block", config={"size": "1MiB"})
    store.call("POST", url(pool, name, "snapshots"), {"name": "s"})
    store.call("PATCH", url(pool, name), {"config": {"size": "2MiB"}})
    with pytest.raises(ApiError, match="cannot be shrunk"):
        store.call("PATCH", url(pool, name), {"config": {"size": "1MiB"}})
    store.call("PUT", url(pool, name), {"restore": "s"})
    store.call("DELETE", url(pool, name))


def test_projects_have_volumes_of_their_own_or_share_them(store: Host) -> None:
    for name, own in (("own", "true"), ("sharing", "false")):
        store.call("POST", "/1.0/projects", {"name": name, "config": {"features.storage.volumes": own}})
    shared = volume(store, "default")
    store.call("POST", url("default") + "?project=own", {"name": shared, "type": "custom", "description": "own"})

    assert store.get(url("default", shared) + "?project=own")["description"] == "own"
    assert store.get(url("default", shared) + "?project=sharing")["description"] == ""
    assert f"{url('default', shared)}?project=own" in store.get(url("default") + "?project=own")

    store.call("DELETE", url("default", shared) + "?project=own")
    store.call("DELETE", url("default", shared) + "?project=sharing")
    assert not store.api.exists(url("default", shared))


@pytest.mark.parametrize("target", ["default", "dir"])
def test_a_copy_is_brought_up_to_date(store: Host, pool: str, target: str, guest: Guest) -> None:
    name, copied = volume(store, pool), f"volume{next(_numbers)}"
    made = guest(devices=disk(pool, name))
    source = {"type": "copy", "name": name, "pool": pool, "refresh": True}
    for text in ("one", "two"):
        write(store, made, text)
        store.call("POST", url(pool, name, "snapshots"), {"name": text})
        store.call("POST", url(target), {"name": copied, "source": source})
    store.call("DELETE", url(pool, name, "snapshots", "one"))
    store.exec(made, "sh", "-c", "rm /srv/file; echo three > /srv/other")

    store.call("POST", url(target), {"name": copied, "source": source})

    assert [each.rpartition("/")[2] for each in store.get(url(target, copied, "snapshots"))] == ["two"]
    other = guest(devices=disk(target, copied))
    assert store.exec(other, "ls", "/srv").stdout == "other\n"
    with pytest.raises(ApiError, match="used by running instances"):
        store.call("POST", url(target), {"name": copied, "source": source})
    store.power(other, "stop", force=True)
    store.call("PUT", url(target, copied), {"restore": "two"})
    store.power(other, "start")
    assert read(store, other) == "two"
