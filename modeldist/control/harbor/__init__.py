"""The preheat jobs of a Dragonfly manager, as Harbor asks for them: an existing Harbor can point at this control plane.

Pure translation: a job is a pull, an image's manifest URL a reference, a scope the nodes it means. `older.py` is what
releases ask whose driver is for Dragonfly 1; `api/harbor.py` has the routes. Imports pulls, views, errors; no database.
"""
