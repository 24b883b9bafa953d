"""Where a process spends its time: stacks of its threads and tasks, sampled on demand (docs/observability.md).

Imports the errors alone.
"""

SECONDS = 5.0
LONGEST = 60.0
"""Of a profile, where nobody says for how long, and at most."""
