"""What an image gets besides its packages: the network, names, templates; for systemd guests and for busybox."""

from dataclasses import dataclass

from hutch.imagebuild import sources
from hutch.imagebuild.recipe import Recipe


@dataclass(frozen=True)
class Node:
    """One entry of a tree: a file with content, a link with target, else a folder."""

    path: str
    mode: int = 0o644
    content: bytes | None = None
    target: str | None = None


def file(path: str, content: str, mode: int = 0o644) -> Node:
    return Node(path.lstrip("/"), mode, content=content.encode())


def link(path: str, target: str) -> Node:
    return Node(path.lstrip("/"), 0o777, target=target)


def folder(path: str, mode: int = 0o755) -> Node:
    return Node(path.lstrip("/"), mode)


NETWORK = """\
[Match]
Name=eth* en*

[Network]
DHCP=yes
IPv6AcceptRA=yes
MulticastDNS=no

[DHCPv4]
UseDomains=yes
UseHostname=no
ClientIdentifier=mac

[DHCPv6]
UseHostname=no

[IPv6AcceptRA]
UseDomains=yes
"""

# There is no udev in a guest, and no need of one: its devices are given to it. systemd-networkd waits for udev's word
# on every link unless its /sys is read-only, which says that it is in such a container.
NETWORKD = """\
[Service]
BindReadOnlyPaths=/sys
"""

# A guest cannot load modules: four programs less to start at every boot.
MODPROBE = """\
[Unit]
ConditionVirtualization=!container
"""

# Programs that systemd runs at every boot to find disks to decrypt, partitions to mount and the like: a guest has none,
# and the kernel command line that some of them read is the host's.
GENERATORS = (
    "bless-boot",
    "cryptsetup",
    "debug",
    "gpt-auto",
    "hibernate-resume",
    "integritysetup",
    "tpm2",
    "veritysetup",
)

HOSTS = """\
127.0.0.1\tlocalhost
127.0.1.1\t{hostname}
::1\tlocalhost ip6-localhost ip6-loopback
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""

TEMPLATES = {
    "hostname.tpl": "{{ container.name }}\n",
    "hosts.tpl": HOSTS.format(hostname="{{ container.name }}"),
}
TEMPLATE_TARGETS: dict[str, dict[str, object]] = {
    "/etc/hostname": {"when": ["create", "copy", "rename"], "template": "hostname.tpl"},
    "/etc/hosts": {"when": ["create", "copy", "rename"], "template": "hosts.tpl"},
}

# cloud-init asks the guest's own API; where that is switched off it reads what these templates leave at every start.
CLOUD_INIT = """\
datasource_list: [LXD, NoCloud, None]
"""
_SEED = "/var/lib/cloud/seed/nocloud-net"
CLOUD_INIT_TEMPLATES = {
    "cloud-init-meta.tpl": "instance-id: {{ config_get('volatile.cloud-init.instance-id', instance.name) }}\n"
    "local-hostname: {{ instance.name }}\n{{ config_get('user.meta-data', '') }}\n",
    **{
        f"cloud-init-{name}.tpl": f"{{{{ config_get('cloud-init.{name}', config_get('user.{name}', '{default}')) }}}}\n"
        for name, default in (
            ("user-data", "#cloud-config"),
            ("vendor-data", "#cloud-config"),
            ("network-config", "{version: 2, ethernets: {eth0: {dhcp4: true}}}"),
        )
    },
}
CLOUD_INIT_TARGETS: dict[str, dict[str, object]] = {
    f"{_SEED}/{file}": {"when": ["create", "copy", "rename", "start"], "template": f"cloud-init-{template}.tpl"}
    for file, template in (
        ("meta-data", "meta"),
        ("user-data", "user-data"),
        ("vendor-data", "vendor-data"),
        ("network-config", "network-config"),
    )
}


def templates(recipe: Recipe) -> dict[str, str]:
    """The image's templates by their names."""
    return TEMPLATES | (CLOUD_INIT_TEMPLATES if recipe.has_cloud_init else {})


def template_targets(recipe: Recipe) -> dict[str, dict[str, object]]:
    """What the templates are for: files of the guest."""
    return TEMPLATE_TARGETS | (CLOUD_INIT_TARGETS if recipe.has_cloud_init else {})


def cloud_init_files() -> list[Node]:
    return [file("/etc/cloud/cloud.cfg.d/95_hutch.cfg", CLOUD_INIT)]


def systemd_files() -> list[Node]:
    """Laid over the installed system before the recipe's own files and commands."""
    return [
        file("/etc/systemd/network/80-dhcp.network", NETWORK),
        file("/etc/systemd/system/systemd-networkd.service.d/without-udev.conf", NETWORKD),
        file("/etc/systemd/system/modprobe@.service.d/without-modules.conf", MODPROBE),
        *(link(f"/etc/systemd/system-generators/systemd-{name}-generator", "/dev/null") for name in GENERATORS),
        file("/etc/hosts", HOSTS.format(hostname="localhost.localdomain")),
        file("/etc/hostname", "localhost\n"),
        file("/etc/default/locale", "LANG=C.UTF-8\n"),
    ]


# Disabled is what looks after the host's disks and kernel, or obeys the host's kernel command line; masked is what
# fails without the host's rights.
# Run in the guest's root after the recipe's commands; the machine-id is empty (not absent, which would be a "first
# boot" with presets) so that every instance gets its own.
SYSTEMD_COMMANDS = (
    "systemctl --quiet enable systemd-networkd.service systemd-resolved.service",
    "systemctl --quiet disable systemd-networkd-wait-online.service systemd-network-generator.service",
    "systemctl --quiet disable e2scrub_reap.service e2scrub_all.timer fstrim.timer systemd-pstore.service",
    "systemctl --quiet mask sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount",
    "systemctl --quiet mask systemd-modules-load.service systemd-binfmt.service",
    "systemctl --quiet set-default multi-user.target",
    "ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf",
    "rm -f /var/lib/dbus/machine-id /etc/ssh/ssh_host_*_key* /var/lib/systemd/random-seed",
    ": > /etc/machine-id",
    # The users and groups of its packages are there: no need to look again at every boot.
    "touch -d 'yesterday 0:00' /usr",  # whole seconds, older than the note that the next line leaves
    "if cd /lib/systemd && [ -x systemd-update-done ]; then ./systemd-update-done; else touch /etc/.updated /var/.updated; fi",
)

INITTAB = """\
::sysinit:/etc/init.d/rcS
console::respawn:/sbin/getty -L 0 console vt100
::ctrlaltdel:/sbin/reboot
::shutdown:/etc/init.d/rcK
"""

RC_START = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ -f /etc/hostname ] && hostname -F /etc/hostname 2>/dev/null
mkdir -p /run /tmp && chmod 1777 /tmp
[ -e /var/run ] || ln -s /run /var/run
ip link set lo up
for path in /sys/class/net/eth*; do
    [ -e "$path" ] || continue
    nic=${path##*/}
    ip link set "$nic" up
    udhcpc -b -R -i "$nic" -t 5 -T 1 -A 5 -x "hostname:$(hostname)" -p "/run/udhcpc.$nic.pid" >/dev/null 2>&1 &
done
for script in /etc/rc.local; do [ -x "$script" ] && "$script"; done
exit 0
"""

RC_STOP = """\
#!/bin/sh
for file in /run/udhcpc.*.pid; do [ -f "$file" ] && kill "$(cat "$file")"; done 2>/dev/null
exit 0
"""

UDHCPC = """\
#!/bin/sh
# Called by udhcpc with the lease in the environment.
case "$1" in
deconfig)
    ip -4 addr flush dev "$interface"
    ip link set "$interface" up
    ;;
bound | renew)
    ip -4 addr flush dev "$interface"
    ip addr add "$ip/${mask:-24}" ${broadcast:+broadcast $broadcast} dev "$interface"
    for gateway in $router; do ip route replace default via "$gateway" dev "$interface" && break; done
    {
        [ -n "$domain" ] && echo "search $domain"
        for server in $dns; do echo "nameserver $server"; done
    } > /etc/resolv.conf
    ;;
esac
exit 0
"""


def busybox_files(binary: bytes, applets: list[str]) -> list[Node]:
    """The whole tree of a busybox guest; `applets` are their paths without the leading slash."""
    folders = ["bin", "sbin", "usr", "usr/bin", "usr/sbin", "etc", "etc/init.d", "etc/udhcpc", "dev", "proc", "sys",
               "run", "mnt", "home", "usr/share", "usr/share/udhcpc", "var", "var/log", "var/lib"]  # fmt: skip
    return [
        *(folder(path) for path in folders),
        folder("root", 0o700),
        folder("tmp", 0o1777),
        link("var/run", "/run"),
        Node("bin/busybox", 0o755, content=binary),
        *(link(path, "/bin/busybox") for path in applets if path != "bin/busybox"),
        file("etc/inittab", INITTAB),
        file("etc/init.d/rcS", RC_START, 0o755),
        file("etc/init.d/rcK", RC_STOP, 0o755),
        file("usr/share/udhcpc/default.script", UDHCPC, 0o755),
        link("etc/udhcpc/default.script", "/usr/share/udhcpc/default.script"),
        file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        file("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
        file("etc/shadow", "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n", 0o600),
        file("etc/profile", "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\nPS1='\\u@\\h:\\w\\$ '\n"),
        file("etc/hostname", "localhost\n"),
        file("etc/hosts", HOSTS.format(hostname="localhost.localdomain")),
        file("etc/nsswitch.conf", "hosts: files dns\n"),
        file("etc/os-release", 'ID=busybox\nNAME="Busybox"\nPRETTY_NAME="Busybox"\n'),
        file("etc/resolv.conf", ""),
    ]


def sources_list(recipe: Recipe) -> str:
    """The guest's own apt sources: the mirror it was built from, one stanza for each archive."""
    archives: dict[str, list[str]] = {}
    for address, suite in sources.lines(recipe.distribution, recipe.suite, recipe.found_mirror()):
        archives.setdefault(address, []).append(suite)
    return "\n".join(
        f"Types: deb\nURIs: {address}\nSuites: {' '.join(suites)}\n"
        f"Components: {sources.COMPONENTS[recipe.distribution]}\n"
        f"Signed-By: {sources.KEYRINGS[recipe.distribution][0]}\n"
        for address, suites in archives.items()
    )
