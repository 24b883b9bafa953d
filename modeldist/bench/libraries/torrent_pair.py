"""libtorrent, tuned for one peer on a fast network, file to file. `python torrent_pair.py FILE TARGET`

Its own SHA-1 or SHA-256 of every piece is part of what it does and cannot be turned off for the receiving side.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import libtorrent

# By its path: the interpreter that has libtorrent may not have this package.
_PLAIN = runpy.run_path(str(Path(__file__).with_name("torrent_settings.py")))["PLAIN"]
# One peer at gigabytes a second, with the machine for itself: deep queues, large buffers, pieces asked for in runs.
_TUNED = {
    **_PLAIN,
    "listen_interfaces": "127.0.0.1:0",
    "send_buffer_watermark": 16 << 20,
    "send_buffer_low_watermark": 4 << 20,
    "send_buffer_watermark_factor": 200,
    "send_socket_buffer_size": 4 << 20,
    "recv_socket_buffer_size": 4 << 20,
    "max_out_request_queue": 4000,
    "max_allowed_in_request_queue": 8000,
    "request_queue_time": 10,
    "whole_pieces_threshold": 1000,
    "aio_threads": 4,
    "hashing_threads": 2,
    "max_queued_disk_bytes": 512 << 20,
    "alert_mask": 0,
}


def seed(info: bytes, folder: str, pipe: Connection) -> None:
    session = libtorrent.session(_TUNED)
    session.add_torrent(_added(info, folder, seeding=True))
    pipe.send(session.listen_port())
    before = time.process_time()
    pipe.recv()
    pipe.send(time.process_time() - before)


def main(file: Path, target: Path) -> dict[str, float]:
    info = _torrent(file)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=seed, args=(info, str(file.parent), theirs))
    process.start()
    port = ours.recv()
    session = libtorrent.session(_TUNED)
    handle = session.add_torrent(_added(info, str(target), seeding=False))
    cpu, began = time.process_time(), time.perf_counter()
    handle.connect_peer(("127.0.0.1", port))
    while not handle.status().is_seeding:
        time.sleep(0.005)
    seconds = time.perf_counter() - began
    used = time.process_time() - cpu
    ours.send("end")
    used += ours.recv()
    process.kill()
    return {"seconds": seconds, "cpu": used}


def _torrent(file: Path) -> bytes:
    files = libtorrent.file_storage()
    files.add_file(file.name, file.stat().st_size)
    made = libtorrent.create_torrent(files, 4 << 20)
    libtorrent.set_piece_hashes(made, str(file.parent))
    return bytes(libtorrent.bencode(made.generate()))


def _added(info: bytes, folder: str, *, seeding: bool) -> libtorrent.add_torrent_params:
    params = libtorrent.add_torrent_params()
    params.ti = libtorrent.torrent_info(libtorrent.bdecode(info))
    params.save_path = folder
    if seeding:
        params.flags |= libtorrent.torrent_flags.seed_mode
    params.flags &= ~(libtorrent.torrent_flags.paused | libtorrent.torrent_flags.auto_managed)
    return params


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)
