"""Pulls started over REST: which nodes are meant, how far each is, who watches, what is written.

Pure state in `pull.py` and `selection.py`; `book.py` joins them to sessions and the store; `shown.py` has what others
see of them. Imports session, artifact, errors, `control.views`; no web framework.
"""
