"""Plain TCP, standard library only.

listen ADDRESS PORT               receive one stream; print bytes and seconds from the first byte to the last
send ADDRESS PORT SIZE            send a stream of SIZE bytes
link FILE SIZE LISTEN NEXT        a link of a chain: receive SIZE bytes on LISTEN ("address:port"; "-": read FILE
                                  instead), write them to FILE and pass them on to NEXT ("-": nobody)
"""

from __future__ import annotations

import os
import socket
import sys
import time

BUFFER = 256 * 1024
PATIENCE = 60.0


def main(arguments: list[str]) -> None:
    match arguments:
        case ["listen", address, port]:
            listen(address, int(port))
        case ["send", address, port, size]:
            send(address, int(port), int(size))
        case ["link", file, size, at, onward]:
            link(file, int(size), at, onward)
        case _:
            raise SystemExit(__doc__)


def accept(address: str, port: int) -> socket.socket:
    server = socket.create_server((address, port))
    server.settimeout(PATIENCE)
    print("ready", flush=True)
    stream, _ = server.accept()
    server.close()
    return stream


def connect(address: str, port: int) -> socket.socket:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection((address, port), PATIENCE)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def listen(address: str, port: int) -> None:
    stream = accept(address, port)
    buffer = bytearray(BUFFER)
    stream.recv_into(buffer)
    began = last = time.monotonic()
    total = 0
    while received := stream.recv_into(buffer):
        total += received
        last = time.monotonic()
    print(total, last - began, flush=True)


def send(address: str, port: int, size: int) -> None:
    stream = connect(address, port)
    block = bytes(BUFFER)
    while size > 0:
        size -= stream.send(block[:size])
    stream.close()


def link(path: str, size: int, at: str, onward: str) -> None:
    """A file of its own on every node; the first link's is the original."""
    first = at == "-"
    source = None
    if not first:
        address, _, port = at.rpartition(":")
        source = accept(address, int(port))
    else:
        print("ready", flush=True)
        sys.stdin.readline()
    target = None
    if onward != "-":
        address, _, port = onward.rpartition(":")
        target = connect(address, int(port))
    file = os.open(path, os.O_RDONLY if first else os.O_RDWR | os.O_CREAT, 0o644)
    buffer = memoryview(bytearray(BUFFER))
    done = 0
    while done < size:
        count = os.readv(file, [buffer]) if source is None else source.recv_into(buffer)
        if not count:
            raise SystemExit("the stream ended early")
        if source is not None:
            os.write(file, buffer[:count])
        if target is not None:
            target.sendall(buffer[:count])
        done += count
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
