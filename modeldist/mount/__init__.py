"""The lazy mount: a snapshot as a directory at once, each byte of it there when it is read.

Imports `modeldist.arriving` and the rooms below it. What decides is pure; pyfuse3 and trio, an extra, are imported by
`asking`, `serving` and `session` alone, which nobody imports before `requirements` has looked.

    tree.py             the inodes
    access_order.py     in which order a reader touched what     loading_order.py   in which order loaders do
    prefetch.py         what to ask for next                     asking.py          carries it to the model
    mounting.py         from the options to the end              session.py         one mount, while it is mounted
    serving.py          what FUSE asks                           direct.py          complete: without FUSE
    lasting.py          a model that is opened again when what brings it fails
    readable.py         what is asked of a model                 stored.py          one that is complete
    requirements.py     what the machine must have               place.py           what is kept in the store
    mountpoint.py       the directory                            mount_table.py, syscalls.py    the kernel
"""
