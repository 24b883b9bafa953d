"""The lazy mount: a snapshot as a directory at once, each byte of it there when it is read.

Imports `modeldist.arriving` and the rooms below it. What decides is pure (`tree`, `access_order`, `loading_order`,
`prefetch`); pyfuse3 and trio, an extra, are imported inside functions.

    tree.py             the inodes
    access_order.py     in which order a reader touched what     loading_order.py   in which order loaders do
    prefetch.py         what to ask for next
"""
