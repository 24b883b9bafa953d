"""Pulls started over REST: which nodes are meant, how far each is, who watches, what is written.

Pure state in `pull.py` and `selection.py`; `book.py` joins them to sessions and the store. Imports session, artifact,
errors; no web framework.
"""
