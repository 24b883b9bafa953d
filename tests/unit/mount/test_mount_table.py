"""What the kernel says of mounts."""

from __future__ import annotations

from modeldist.mount.mount_table import Mounted, parse

TABLE = """\
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
44 27 0:39 / /mnt/my\\040model ro,nosuid - fuse.modeldist hf://org/model@1,2 ro,user_id=0
45 44 254:0 /store/files /mnt/my\\040model ro - ext4 /dev/vda rw
nonsense
"""


def test_mounts_are_read_in_their_order_with_the_names_they_have() -> None:
    assert parse(TABLE) == [
        Mounted("254:0", "/", "/", "ext4", "/dev/vda"),
        Mounted("0:39", "/", "/mnt/my model", "fuse.modeldist", "hf://org/model@1,2"),
        Mounted("254:0", "/store/files", "/mnt/my model", "ext4", "/dev/vda"),
    ]
