"""The fault matrix: what breaks × how × when, on real processes in network namespaces. `cells.py` is the table,
`world.py` what is broken, `injuries.py` how. `make chaos` runs all of it and writes docs/reliability.md."""
