"""Folders that others can write, with real permissions; and numba, which reads nothing from them."""

import grp
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from trt_int8.calibration import ownership
from trt_int8.calibration.ownership import intruder

NOBODY = 65534
requires_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder to another user needs root")


def made(path, mode, owner=None):
    path.mkdir()
    path.chmod(mode)
    if owner is not None:
        os.chown(path, owner, -1)
    return path


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702, 0o1702])
def test_a_folder_that_all_can_write(tmp_path, mode):
    folder = made(tmp_path / "cache", mode)
    assert intruder(folder) == f"{folder} can be written by all users"
    # One that does not exist could be made by others first.
    assert intruder(folder / "new" / "newer") == f"{folder} can be written by all users"


def test_folders_above_may_be_written_if_they_are_sticky(tmp_path):
    above = made(tmp_path / "tmp", 0o1777)
    own = made(above / "own", 0o700)
    assert intruder(own) is None
    assert intruder(own / "new") is None
    above.chmod(0o777)
    assert intruder(own) == f"{above} can be written by all users"


@requires_root
def test_folders_of_others(tmp_path):
    theirs = made(tmp_path / "theirs", 0o755, NOBODY)
    mine = made(theirs / "mine", 0o700)
    assert (
        intruder(theirs) == intruder(mine) == intruder(theirs / "new") == f"{theirs} belongs to user {NOBODY}"
    )
    theirs.chmod(0o1755)  # its owner may rename what is in it
    assert intruder(mine) == f"{theirs} belongs to user {NOBODY}"


@requires_root
def test_files_that_were_put_there_before_it_was_closed(tmp_path):
    folder = made(tmp_path / "cache", 0o700)
    (folder / "a").touch()
    assert intruder(folder) is None
    (folder / "b").touch()
    (folder / "b").chmod(0o666)
    assert intruder(folder) == f"{folder / 'b'} can be written by all users"
    (folder / "b").chmod(0o600)
    os.chown(folder / "b", NOBODY, -1)
    assert intruder(folder) == f"{folder / 'b'} belongs to user {NOBODY}"


def test_links_are_followed_one_by_one(tmp_path):
    made(tmp_path / "good", 0o700)
    bad = made(tmp_path / "bad", 0o777)
    (bad / "back").symlink_to("../good")
    (tmp_path / "way").symlink_to(bad / "back")
    (tmp_path / "straight").symlink_to("good")
    assert intruder(tmp_path / "straight") is None
    assert intruder(tmp_path / "straight" / "new") is None
    assert intruder(tmp_path / "way") == f"{bad} can be written by all users"
    (tmp_path / "loop").symlink_to("loop")
    assert intruder(tmp_path / "loop") == f"{tmp_path / 'loop'} has too many symbolic links"
    (tmp_path / "nowhere").symlink_to("none")
    assert intruder(tmp_path / "nowhere") is None


@requires_root
def test_links_of_others(tmp_path):
    made(tmp_path / "good", 0o700)
    link = made(tmp_path / "tmp", 0o1777) / "link"
    link.symlink_to(tmp_path / "good")
    assert intruder(link) is None
    os.chown(link, NOBODY, -1, follow_symlinks=False)
    assert intruder(link) == f"{link} belongs to user {NOBODY}"


@requires_root
def test_groups(tmp_path, monkeypatch):
    folder = made(tmp_path / "cache", 0o770)
    assert intruder(folder) is None  # root's own group
    os.chown(folder, -1, 4321)
    assert intruder(folder) == f"{folder} can be written by group 4321"
    member = pwd.getpwuid(NOBODY)
    os.chown(folder, -1, member.pw_gid)
    assert intruder(folder) == f"{folder} can be written by group {member.pw_gid}"
    os.chown(folder, -1, 0)
    ownership._is_private.cache_clear()
    monkeypatch.setattr(grp, "getgrgid", lambda _: grp.struct_group(("root", "x", 0, [member.pw_name])))
    assert intruder(folder) == f"{folder} can be written by group 0"
    ownership._is_private.cache_clear()


COMPILE = """
import sys
from trt_int8 import progress
from trt_int8.calibration.kernels import COUNT, SEARCH

class Notes(progress.Display):
    def note(self, text):
        print(text)

with progress.show(Notes()):
    assert COUNT.now() is not None and SEARCH.now() is not None
print(sum(sum(loop.ready.stats.cache_hits.values()) for loop in (COUNT, SEARCH)))
"""


def compiled(**environment):
    command = [sys.executable, "-c", COMPILE]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd="/", check=True)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_numba_unpickles_nothing_from_a_folder_of_others(tmp_path):
    cache = made(tmp_path / "cache", 0o700)
    assert compiled(NUMBA_CACHE_DIR=str(cache)) == ["0"]
    assert compiled(NUMBA_CACHE_DIR=str(cache)) == ["2"]
    (kept,) = cache.iterdir()
    for index in cache.rglob("*.nbi"):
        index.write_bytes(f"cposix\nsystem\n(S'touch {tmp_path}/ran'\ntR.".encode())
    cache.chmod(0o777)
    before = {path: path.stat().st_mtime_ns for path in [cache, *cache.rglob("*")]}
    for folder in (cache, kept):  # also where the folder that numba makes in it is the one that is open
        note, hits = compiled(NUMBA_CACHE_DIR=str(cache))
        assert hits == "0"
        assert f"because {folder} can be written by all users, and what is there runs as code" in note
        assert {
            path: path.stat().st_mtime_ns for path in [cache, *cache.rglob("*")]
        } == before or folder == kept
        assert not (tmp_path / "ran").exists()
        cache.chmod(0o755)
        kept.chmod(0o777)
    kept.chmod(0o755)
    compiled(NUMBA_CACHE_DIR=str(cache))
    assert (tmp_path / "ran").exists()  # it would have run


@pytest.mark.slow
def test_the_cache_of_the_user_is_checked_too(tmp_path):
    """numba falls back to it where the package cannot be written."""
    shutil.copytree(
        ROOT / "trt_int8", tmp_path / "install" / "trt_int8", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "install" / "trt_int8" / "calibration" / "__pycache__").write_text("a file")
    shared = made(tmp_path / "shared", 0o777)
    home = {"PYTHONPATH": str(tmp_path / "install"), "HOME": str(tmp_path), "NUMBA_CACHE_DIR": ""}
    note, hits = compiled(**home, XDG_CACHE_HOME=str(shared))
    assert f"because {shared} can be written by all users" in note
    assert hits == "0"
    assert [path for path in Path(shared).rglob("*") if path.is_file()] == []
    assert compiled(**home, XDG_CACHE_HOME=str(tmp_path / "own")) == ["0"]
    assert compiled(**home, XDG_CACHE_HOME=str(tmp_path / "own")) == ["2"]
