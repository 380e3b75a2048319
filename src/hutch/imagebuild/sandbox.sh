#!/bin/sh
# sandbox.sh WORK NETWORK COMMAND...: run COMMAND where it can reach WORK (as /mnt) and nothing else of weight.
#
# Called inside new mount, pid, ipc, uts and (unless NETWORK is "network") net namespaces. Hides what the host
# keeps for itself under mounts that a user namespace made later inside cannot take off again.
set -eu
work=$1
shift 2
mount --make-rprivate /
mount --bind "$work" /mnt
for ids in subuid subgid; do
    [ -e "/etc/$ids" ] || : > "/etc/$ids"
    mount --bind "/mnt/$ids" "/etc/$ids"
done
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
for folder in /sys /root /home /run /var/lib/hutch /srv /boot; do
    [ -d "$folder" ] && mount -t tmpfs -o mode=0755,size=1m,ro none "$folder"
done
exec "$@"
