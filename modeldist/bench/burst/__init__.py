"""A burst of pulls against one control plane: real server, sessions and REST; only the models' bytes are missing.

plan.py      what is asked for
registry.py  a registry of small models, in a process of its own
agent.py     one node: resolves, joins, says that it has the model
asking.py    what is asked over REST, by the public client
run.py       the phases of a measurement
result.py    its figures
"""
