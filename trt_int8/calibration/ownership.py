"""Find out who else can write a folder: what is loaded from there could be theirs."""

from __future__ import annotations

import functools
import os
import stat
from pathlib import Path

#: As many symbolic links as Linux follows in one path.
_LINKS = 40
_ACCESS_LIST = "system.posix_acl_access"


def intruder(folder: str | os.PathLike[str]) -> str | None:
    """Tell who, other than this user and root, can write ``folder`` and its files; None if nobody can.

    The owner of this package counts as this user, because that user's code runs anyway. The deepest existing
    folder of the path must be writable for nobody else. Those above it may be, as /tmp is, if they are
    sticky: then others cannot rename what is in them. Symbolic links are followed one by one.

    Returns:
        A clause for a message, such as "/scratch can be written by all users".
    """
    if not hasattr(os, "geteuid"):
        return None
    path = Path.cwd() / folder
    for _ in range(_LINKS):
        problem, deepest = None, Path("/")
        for place in (*reversed(path.parents), path):
            try:
                status = os.lstat(place)
            except OSError:  # it does not exist, or cannot be reached
                break
            problem, deepest = _problem(place, status), place
            if problem is not None and not _is_sticky(status):
                return problem
            if stat.S_ISLNK(status.st_mode):
                path = place.parent / os.readlink(place) / path.relative_to(place)
                break
        if not deepest.is_symlink():
            return problem or (_first_problem(path) if deepest == path else None)
    return f"{folder} has too many symbolic links"


def _is_sticky(status: os.stat_result) -> bool:
    return status.st_uid in _trusted() and bool(status.st_mode & stat.S_ISVTX)


def _first_problem(folder: Path) -> str | None:
    try:
        problems = (_problem(entry, os.lstat(entry)) for entry in sorted(folder.iterdir()))
        return next((problem for problem in problems if problem is not None), None)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"


def _problem(place: Path, status: os.stat_result) -> str | None:
    if status.st_uid not in _trusted():
        return f"{place} belongs to user {status.st_uid}"
    if stat.S_ISLNK(status.st_mode):
        return None
    if status.st_mode & stat.S_IWOTH:
        return f"{place} can be written by all users"
    if status.st_mode & stat.S_IWGRP and not (_is_private(status.st_gid) and _has_no_access_list(place)):
        return f"{place} can be written by group {status.st_gid}"
    return None


def _trusted() -> set[int]:
    return {0, os.geteuid(), os.stat(__file__).st_uid}


@functools.cache
def _is_private(group: int) -> bool:
    """Return whether only this user and root are in ``group``."""
    import grp
    import pwd

    try:
        allowed = {pwd.getpwuid(user).pw_name for user in (0, os.geteuid())}
        members = {user.pw_name for user in pwd.getpwall() if user.pw_gid == group}
        return members.union(grp.getgrgid(group).gr_mem) <= allowed
    except KeyError:  # a user or a group without an entry, as in containers
        return False


def _has_no_access_list(place: Path) -> bool:
    try:
        return not hasattr(os, "listxattr") or _ACCESS_LIST not in os.listxattr(place)
    except OSError:  # the file system has none
        return True
