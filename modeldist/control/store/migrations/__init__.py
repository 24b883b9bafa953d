"""Alembic migrations, run when the control plane starts (`store/schema.py`). Never edit a released version."""
