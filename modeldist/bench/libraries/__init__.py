"""Other libraries moving the same bytes over loopback: one script each, run by whatever interpreter has the library.

They import nothing of ours. Each prints one JSON document: wall seconds, and CPU seconds of both processes.
"""
