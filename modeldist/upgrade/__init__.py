"""Releases of this program, and how a machine changes from one to the next. May import errors and modelpack.

    release          a signed list of wheels: made, read, held against what runs
    versions         the directory where versions lie side by side, and which of them is on trial
    installing       a release into a tree of its own
    launcher         what a service manager starts: runs a version, and the one before where that does not come up
    newer            which of two versions is

`versions`, and `launcher` but for `newer`, use the standard library alone: whatever is wrong with a version, they are
not part of it.
"""
