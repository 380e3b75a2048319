"""Tells systemd how the daemon is doing: one datagram to $NOTIFY_SOCKET (sd_notify(3)). Does nothing elsewhere."""

import os
import socket


def notify(text: str) -> None:
    if not (address := os.environ.get("NOTIFY_SOCKET", "")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(text.encode(), address)
