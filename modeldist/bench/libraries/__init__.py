"""Other libraries moving the same bytes over loopback: one script each, run by whatever interpreter has the library.

They import nothing of ours (`torrent_settings.py` holds what all uses of libtorrent set alike). Each prints one JSON
document: wall seconds, and CPU seconds of both processes.
"""
