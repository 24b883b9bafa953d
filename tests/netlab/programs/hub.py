"""A Hugging Face shaped server as a process: one line of JSON in, one out.

{"repo": …, "folder": …} makes the folder a repository and answers with the URL; {"count": …} answers with the body
bytes of this repository's files served so far; {} answers with those of all files and ends.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.servers.hub import Hub


def main() -> None:
    with Hub(sys.argv[1]) as hub:
        for line in sys.stdin:
            asked = json.loads(line)
            if not asked:
                print(json.dumps({"bytes": hub.body_bytes("/resolve/")}), flush=True)
                return
            if "count" in asked:
                print(json.dumps({"bytes": hub.body_bytes(f"/{asked['count']}/resolve/")}), flush=True)
                continue
            hub.commit(asked["repo"], Path(asked["folder"]))
            print(json.dumps({"url": hub.url}), flush=True)


if __name__ == "__main__":
    main()
