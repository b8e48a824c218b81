"""Locks on open files, by which processes of g4 leave each other's files alone.

A lock ends with the process that has it, however that ends, and says nothing to other programs. Not
every file system has them: NFS without its lock service, SMB and some cluster file systems refuse
them or keep them on one machine. There g4 works as if no other process were at the same file.
"""

from __future__ import annotations

import fcntl
from enum import Enum


class Lock(Enum):
    """What became of the wish for a lock."""

    OURS = "ours until the file is closed"
    TAKEN = "another process has it"
    NONE = "the file system has no locks"


def lock(handle: int) -> Lock:
    """Lock an open file, without waiting, until it is closed.

    It should be open for writing, without which NFS has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Lock.TAKEN
    except OSError:  # ENOLCK, EOPNOTSUPP, EINVAL, ENOSYS, EBADF, EIO, by the file system
        return Lock.NONE
    return Lock.OURS
