"""Telling platforms that a pull ended: one signed POST, repeated until it is taken.

`signing.py` and `destinations.py` are pure; `deliveries.py` sends what the store says is due. Imports pulls, views,
errors; no web framework.
"""
