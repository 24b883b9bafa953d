"""Why a pull is as fast as it is: what was waited for, as it was measured, and the one thing to change.

    waits.py     which functions wait for what; where every thread stands now
    account.py   where the time of one pull went
    record.py    that, as it travels
    decision.py  from a record to a bottleneck, with evidence and remedy: pure

Imports nothing of ours but errors, uploads and units.
"""

from modeldist.explain.account import Account
from modeldist.explain.decision import Explanation, Facts, explain, what_held
from modeldist.explain.record import Around, Where
from modeldist.explain.waits import standing, waits_for
from modeldist.uploads import Uploads

__all__ = [
    "Account",
    "Around",
    "Explanation",
    "Facts",
    "Uploads",
    "Where",
    "explain",
    "standing",
    "waits_for",
    "what_held",
]
