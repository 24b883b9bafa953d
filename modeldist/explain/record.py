"""Where the time of a pull went, as it travels from agents to who explains it. Times in seconds, sizes in bytes."""

from __future__ import annotations

import msgspec


class Around(msgspec.Struct, frozen=True, omit_defaults=True):
    """The node at that moment. `link`, `disk`, `cpu`: 0..1 of it used, None where that is not known; `link_speed` in
    bytes/s. `download_limit` in bytes/s. `control`: why there is no session with the control plane, empty where there
    is one. `rdma`: why pieces came over TCP though RDMA was asked for, or both nodes have it."""

    link: float | None = None
    link_speed: float | None = None
    disk: float | None = None
    cpu: float | None = None
    download_limit: float | None = None
    control: str = ""
    rdma: str = ""


class Where(msgspec.Struct, frozen=True, omit_defaults=True):
    """`waits`: seconds by what was waited for (`waits.Wait`), since the pull began, `lately` those of the last
    `window`. `rates`: bytes/s of late by source, which is `origin` or the id of a parent. `since`: for how long what is
    waited for most has been that, `still`: for how long nothing has come. `origin`: its name, `trouble` what it said
    when it was asked last, where that was not what was asked for."""

    waits: dict[str, float] = {}
    lately: dict[str, float] = {}
    window: float = 0.0
    rates: dict[str, float] = {}
    since: float = 0.0
    still: float = 0.0
    origin: str = ""
    trouble: str = ""
    around: Around = Around()

    @property
    def parents(self) -> set[str]:
        """Ids of those that were waited for, or gave something of late."""
        waited = {wait.partition(":")[2] for wait in (*self.waits, *self.lately) if wait.startswith("parent:")}
        return waited | (self.rates.keys() - {"origin"})

    @property
    def rate(self) -> float:
        """bytes/s of late, from all sources."""
        return sum(self.rates.values())
