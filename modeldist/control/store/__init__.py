"""What the control plane keeps on disk: tokens, artifacts, references, nodes, pulls, its own identity.

SQLAlchemy 2 async over SQLite (default) or PostgreSQL; a repository per table, migrations in `migrations/`. Swarm
state is soft and never stored. Imports artifact, errors and the value objects of `control.pulls`.
"""
