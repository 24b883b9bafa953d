"""A libtorrent peer as a process, tuned for few peers on one fast network.

make FOLDER/FILE TORRENT PIECE_SIZE
seed TORRENT FOLDER ADDRESS            says `ready`; at the end of its input, the payload bytes it sent
fetch TORRENT FOLDER ADDRESS PEER…     says `ready`, begins at a line of input, says `done`, serves until its end
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import libtorrent as lt

from modeldist.bench.libraries.torrent_settings import PLAIN

PORT = 6881
# A few peers whose addresses look alike meet at once, and call again soon.
_NO_LIMITS = {
    "connections_limit": 500,
    "connection_speed": 500,
    "ssrf_mitigation": False,
    "rate_limit_ip_overhead": False,
    "close_redundant_connections": True,
    "max_failcount": 100,
    "min_reconnect_time": 1,
    "max_rejects": 500,
    "smooth_connects": False,
}
# Some megabytes a second from many peers: queues of a second, buffers of a piece; eight peers share two cores.
_PIPELINES = {
    "max_out_request_queue": 1500,
    "max_allowed_in_request_queue": 3000,
    "request_queue_time": 1,
    "send_buffer_watermark": 1 << 20,
    "send_buffer_low_watermark": 128 * 1024,
    "whole_pieces_threshold": 2,
    "initial_picker_threshold": 0,
    "piece_timeout": 5,
    "request_timeout": 5,
    "predictive_piece_announce": 50,
    "lazy_bitfields": False,
    "aio_threads": 2,
    "hashing_threads": 1,
    "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
}


def main(arguments: list[str]) -> None:
    match arguments:
        case ["make", path, torrent, piece_size]:
            make(Path(path), Path(torrent), int(piece_size))
        case ["seed", torrent, folder, address]:
            seed(torrent, folder, address)
        case ["fetch", torrent, folder, address, *peers]:
            fetch(torrent, folder, address, peers)
        case _:
            raise SystemExit(__doc__)


def make(path: Path, torrent: Path, piece_size: int) -> None:
    files = lt.file_storage()
    lt.add_files(files, str(path))
    made = lt.create_torrent(files, piece_size, lt.create_torrent.v1_only)
    lt.set_piece_hashes(made, str(path.parent))
    torrent.write_bytes(lt.bencode(made.generate()))


def session(address: str) -> lt.session:
    listen = {"listen_interfaces": f"{address}:{PORT}", "outgoing_interfaces": address}
    return lt.session({**PLAIN, **_NO_LIMITS, **_PIPELINES, **listen})


def _add(peers: lt.session, torrent: str, folder: str, *, seeding: bool) -> lt.torrent_handle:
    wanted = lt.add_torrent_params()
    wanted.ti = lt.torrent_info(torrent)
    wanted.save_path = folder
    wanted.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if seeding:
        wanted.flags |= lt.torrent_flags.seed_mode
    return peers.add_torrent(wanted)


def seed(torrent: str, folder: str, address: str) -> None:
    peers = session(address)
    handle = _add(peers, torrent, folder, seeding=True)
    print("ready", flush=True)
    sys.stdin.read()
    print(handle.status().total_payload_upload, flush=True)
    os._exit(0)


def fetch(torrent: str, folder: str, address: str, others: list[str]) -> None:
    peers = session(address)
    print("ready", flush=True)
    sys.stdin.readline()
    handle = _add(peers, torrent, folder, seeding=False)
    for other in others:
        handle.connect_peer((other, PORT))
    done = threading.Event()
    while not done.is_set():
        peers.wait_for_alert(1000)
        if any(isinstance(alert, lt.torrent_finished_alert) for alert in peers.pop_alerts()):
            done.set()
    print("done", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
