"""What is said of each bottleneck, and what to do about it."""

from __future__ import annotations

WAITED = {
    "origin": "waiting for the origin",
    "origin_pause": "pausing before the origin is tried again",
    "parent": "waiting for other nodes",
    "disk": "waiting for this node's disk",
    "verify": "checking digests",
    "checks": "waiting for digests",
    "download_limit": "waiting for the download limit",
    "upload_limit": "waiting for the upload limit",
    "sending": "sending",
    "reuse": "taking what other versions have of it",
    "pieces": "waiting for pieces that nobody near had",
    "room": "waiting for room at the control plane",
    "control": "without the control plane",
    "resolve": "finding out what the reference means",
    "other": "waiting for another process",
    "work": "elsewhere",
}

SAID = {
    "upstream": "This node waits for pieces that the nodes it fetches from do not have yet: what holds those up holds "
    "it up.",
    "queue": "The control plane has no room for this pull now; it is asked again.",
    "control_plane": "The control plane is away, and nobody else can say where the rest is to be had.",
    "origin": "The origin holds it up.",
    "other_process": "Another process on this machine fetches the same files; this pull waits for it.",
    "disk": "This node's disk holds it up.",
    "verification": "Checking digests holds it up.",
    "download_limit": "This node's download limit holds it up.",
}

OF_ENDED = {
    "upstream": "This node waited for pieces that the nodes it fetched from did not have yet.",
    "queue": "The control plane had no room for this pull, and was asked again.",
    "control_plane": "The control plane was away, and nobody else could say where the rest was to be had.",
    "origin": "The origin held it up.",
    "other_process": "Another process on this machine fetched the same files; this pull waited for it.",
}
"""In the place of those of `SAID`, of a pull that is done."""

OF_FAILED = {
    "credentials": (
        "Part of it had come with the same credentials: they were valid, and are no more.",
        "Nothing had come.",
    ),
    "not_found": ("Part of it had come: the rest was there, and is no more.", "Nothing had come."),
    "trust": ("", "Nothing had come: a policy is asked before anything is fetched."),
    "unsupported": ("", "Nothing had come."),
    "request": ("", "Nothing had come."),
}
"""What else is known of a pull that failed: where part of it had come, and where nothing had."""

WHEN_FAILED = "Pull again: what is here stays. If it repeats, the log of the node's agent says more."

HELD = {
    "origin": "the origin held it up",
    "origin_limit": "the origin asked for fewer requests",
    "parent": "the nodes that it fetched from held it up",
    "upload_limit": "an upload limit of another node held it up",
    "upstream": "nobody near had the rest yet",
    "disk": "the node's disk held it up",
    "own_link": "the node's link was full",
    "download_limit": "the node's download limit held it up",
    "verification": "checking digests held it up",
    "rdma": "RDMA was missing",
    "control_plane": "the node had no session with the control plane",
    "queue": "the control plane had no room for it",
    "other_process": "another process on the node fetched the same files",
    "agent_away": "the node was not connected to the control plane",
}

FOR: dict[str, str] = {
    "origin": "Look at the origin and the way to it: `curl -o /dev/null` one of its files from here. More nodes do not "
    "make it slower: each byte is read once.",
    "origin_limit": "Wait, or log in for a higher limit (`modeldist login REGISTRY`, HF_TOKEN); fewer streams ask less "
    "often: --origin-streams.",
    "upstream": "`modeldist why PULL --server URL` explains every node; look at those that this one fetches from.",
    "disk": "Put the store on a faster disk (--store), or see who else writes there: `modeldist doctor` measures it.",
    "disk_full": "Free space: `modeldist gc`, or set --high-watermark; then pull again.",
    "own_link": "Nothing to mend: give the node a faster link, or pull a part of the model (`modeldist pull --help`).",
    "download_limit": "Raise or drop --download-rate (MODELDIST_AGENT_DOWNLOAD_RATE) of this node's agent.",
    "verification": "Leave the agent more of the processor: see who else uses it, or raise its CPU limit.",
    "rdma": "See why with `python -m rdma probe` and `modeldist doctor` on both nodes, or say --rdma off if TCP "
    "is what you want.",
    "credentials": "Renew the token: `modeldist login REGISTRY`, or HF_TOKEN for the hub; then pull again.",
    "control_plane": "Start the control plane, or look at the way to it: `modeldist doctor` asks it.",
    "queue": "Wait, or give the control plane more room (`modeldist server --help`).",
    "other_process": "Wait for it: `modeldist ls` and `modeldist status` show what runs.",
    "agent_away": "Start the agent there, or look into its log: it goes on when it is back.",
    "integrity": "Pull again; if it repeats, the origin holds a damaged copy: push it again.",
    "not_found": "Check the name and the tag: `modeldist inspect REF` asks the origin for it. Some registries say that "
    "of what the token may not see.",
    "trust": "Have the model signed by whom the policy names, or change the policy: `modeldist trust REF "
    "--policy FILE` says what there is.",
    "unsupported": "Name another form of the model, or upgrade modeldist: `modeldist inspect REF` says what it is.",
    "request": "Correct the request: `modeldist pull --help`.",
    "deadline": "Ask again with a later deadline: nodes keep what they have.",
    "agent": "Look into the log of the node's agent, and at `modeldist doctor` there; then pull again.",
}


def waited(wait: str) -> str:
    """Of a later version's agent, or of one that lies, that may be anything."""
    return WAITED.get(wait, WAITED["work"])


def parent(name: str) -> str:
    there = f" on {name}" if name else " there"
    return (
        f"Look there: `modeldist top`{there} shows what its uploads wait for, `modeldist doctor` its disk and link. "
        "Other nodes that have the model take over when that agent is stopped."
    )
