#!/bin/sh
# sandbox.sh INSIDE FIRST_ID COUNT NETWORK COMMAND...: run COMMAND as root of nothing but the folder INSIDE, its /mnt.
#
# Called as the machine's root in new mount, pid and (unless NETWORK is "network") net namespaces. First the host's own
# places are covered: what is mounted here cannot be taken off from within a user namespace. Then COMMAND runs in
# a user namespace whose ids FIRST_ID.. belong to nobody, with mount, pid, ipc, uts and cgroup namespaces of its own.
set -eu
inside=$1 first=$2 count=$3 network=$4
shift 4
mount --make-rprivate /
mount --bind "$inside" /mnt
mount -t tmpfs -o mode=0755,size=1m none /srv
for node in null zero full random urandom tty; do
    : > "/srv/$node"
    mount --bind "/dev/$node" "/srv/$node"
done
ln -s /proc/self/fd /srv/fd
ln -s fd/0 /srv/stdin
ln -s fd/1 /srv/stdout
ln -s fd/2 /srv/stderr
mkdir /srv/shm /srv/pts
mount -t tmpfs -o mode=1777 none /srv/shm
mount --rbind /srv /dev
cd /
for folder in /sys /root /home /run /var/lib/hutch /srv /boot; do
    [ ! -d "$folder" ] || mount -t tmpfs -o mode=0755,size=1m,ro none "$folder"
done
[ "$network" = network ] || ip link set lo up

unshare --user sleep infinity &
holder=$!
trap 'kill $holder' EXIT
until [ "$(readlink /proc/$holder/ns/user)" != "$(readlink /proc/$$/ns/user)" ]; do
    kill -0 $holder || { echo "E: this machine does not allow user namespaces" >&2; exit 1; }
    sleep 0.01
done
echo "0 $first $count" > /proc/$holder/uid_map
echo "0 $first $count" > /proc/$holder/gid_map
nsenter --user=/proc/$holder/ns/user --setuid 0 --setgid 0 \
    unshare --mount --pid --fork --kill-child --mount-proc --ipc --uts --cgroup "$@"
