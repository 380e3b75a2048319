"""A client that sends a numbered line every 10 ms over one TCP connection and checks what comes back, byte by byte.

`chatter.py HOST PORT FILE`: ends with a last line when FILE is gone, and prints what it saw as JSON: lines sent and echoed, the
longest gap between two answers in seconds, and what went wrong (empty: nothing).
"""

import json
import os
import select
import socket
import sys
import threading
import time

EVERY, PATIENCE = 0.01, 60.0


def main() -> None:
    host, port, file = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    line = socket.create_connection((host, port), 30)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.settimeout(None)
    sent, ended = [0], threading.Event()

    def send() -> None:
        while os.path.exists(file):  # noqa: PTH110
            try:
                line.sendall(b"%08d\n" % sent[0])
            except OSError:
                return  # The receiver sees it too.
            sent[0] += 1
            time.sleep(EVERY)
        ended.set()

    threading.Thread(target=send, daemon=True).start()
    print(json.dumps(_receive(line, sent, ended)))


def _receive(line: socket.socket, sent: list[int], ended: threading.Event) -> dict[str, object]:
    came, echoed, longest, wrong = b"", 0, 0.0, ""
    last = time.monotonic()
    while not wrong and not (ended.is_set() and echoed == sent[0]):
        if not select.select([line], [], [], 0.1)[0]:
            wrong = "" if time.monotonic() - last < PATIENCE else "no answer any more"
            continue
        try:
            data = line.recv(65536)
        except OSError as error:
            wrong = repr(error)
            break
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        came += data
        if not data:
            wrong = "the connection was closed"
        while len(came) >= 9 and not wrong:
            if came[:9] != b"%08d\n" % echoed:
                wrong = f"line {echoed} is {came[:9]!r}"
            came, echoed = came[9:], echoed + 1
    return {"sent": sent[0], "echoed": echoed, "gap": round(longest, 3), "wrong": wrong}


if __name__ == "__main__":
    main()
