"""The service that benchmarks send to, in a process of its own: ``python service.py PORT [hang]``.

It is as plain as can be, so that it is never what limits: a thread a connection, raw sockets, the request read and
answered at once. What it does is in the path: ``/slow/200/…`` answers after 200 ms, ``/status/401/…`` with that status,
``/once/429/3/…`` the first time with that status and ``Retry-After: 3``, everything else with 200. With ``hang`` it
reads and never answers. ``GET /arrivals/PREFIX`` tells when what arrived under a path, as it was answered.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import threading
import time

BODY = b'{"ok": true, "status": 1, "id": "1", "request": "1", "ts": "1.0", "result": {"message_id": 1}}'
NUMBER = re.compile(rb"bench-(\d+)")

#: When (time.monotonic(), the same clock for every process), the path, and the body.
arrivals: list[tuple[float, bytes, bytes]] = []


def answer(status: int, body: bytes = BODY, more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n"
    return head % (status, len(body), more) + body


PLAIN = answer(200)


def told(prefix: bytes) -> bytes:
    """``[[when, number of the alert], …]`` of the requests under a path."""
    found = []
    for when, path, body in list(arrivals):
        if path.startswith(prefix):
            number = NUMBER.search(body)
            found.append([when, int(number[1]) if number else -1])
    return answer(200, json.dumps(found).encode())


def answer_to(path: bytes, body: bytes) -> bytes:
    words = path.split(b"/")
    if words[1] == b"arrivals":
        return told(b"/" + b"/".join(words[2:]))
    if words[1] == b"slow":
        time.sleep(int(words[2]) / 1000)
    first = not any(known == path for _, known, _ in arrivals) if words[1] == b"once" else False
    arrivals.append((time.monotonic(), path, body))
    if words[1] == b"status":
        return answer(int(words[2]))
    if first:
        return answer(int(words[2]), more=b"Retry-After: %s\r\n" % words[3])
    return PLAIN


def serve(connection: socket.socket, hang: bool) -> None:
    with contextlib.suppress(ConnectionError):  # whoever sent was killed
        answer_all(connection, hang)


def answer_all(connection: socket.socket, hang: bool) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    got = b""
    while True:
        while b"\r\n\r\n" not in got:
            more = connection.recv(65536)
            if not more:
                return
            got += more
        head, _, got = got.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line[:15].lower() == b"content-length:"), 0)
        while len(got) < length:
            got += connection.recv(65536)
        body, got = got[:length], got[length:]
        if not hang:
            connection.sendall(answer_to(lines[0].split(b" ")[1].partition(b"?")[0], body))


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=256)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection = listener.accept()[0]
        threading.Thread(target=serve, args=(connection, "hang" in sys.argv), daemon=True).start()


if __name__ == "__main__":
    main()
