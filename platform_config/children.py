"""Child processes that end with their parent, and the user that they run as.

PostgreSQL refuses to be root. Started by root it becomes an ordinary user that keeps one power: to enter any
directory, since the checkout and its environment may lie where others can't go (a home with mode 0700).

This file is also a program: `spawn` runs it, it prepares its own process, and becomes the child by exec.
(Doing so in `preexec_fn` instead could wait for ever on a lock that another thread held at the fork.)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

STOP_SECONDS = 10.0

# Numbers of linux/prctl.h, linux/capability.h, linux/sched.h.
(
    PR_SET_PDEATHSIG,
    PR_SET_KEEPCAPS,
    PR_SET_CHILD_SUBREAPER,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_RAISE,
) = 1, 8, 36, 47, 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWUSER = 0x10000000

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Identity:
    """The user that a child runs as; `uid` and `gid` own its files, seen from here.

    `same`: whoever starts it. `reach`: root becomes `account_uid` but still enters every directory.
    `rename`: the same user, called `account_uid` in a user namespace of its own. `become`: root becomes it.
    """

    how: Literal["same", "reach", "rename", "become"]
    uid: int
    gid: int
    account_uid: int
    account_gid: int


def identities() -> Iterator[Identity]:
    """The ways to run a program that refuses root and (initdb) wants a user with a name; best first."""
    uid, gid = os.geteuid(), os.getegid()
    named = [account for account in pwd.getpwall() if account.pw_uid != 0]
    if uid != 0 and any(account.pw_uid == uid for account in named):
        yield Identity("same", uid, gid, uid, gid)
        return
    named.sort(key=lambda account: account.pw_name != "nobody")
    for account in named[:1]:
        if uid == 0:
            yield Identity("reach", account.pw_uid, account.pw_gid, account.pw_uid, account.pw_gid)
        yield Identity("rename", uid, gid, account.pw_uid, account.pw_gid)
        if uid == 0:
            yield Identity("become", account.pw_uid, account.pw_gid, account.pw_uid, account.pw_gid)


def own_identity() -> Identity:
    uid, gid = os.geteuid(), os.getegid()
    return Identity("same", uid, gid, uid, gid)


def spawn(
    command: Sequence[str],
    *,
    identity: Identity,
    cwd: Path,
    environment: Mapping[str, str],
    output: IO[bytes] | int,
    farewell: signal.Signals = signal.SIGINT,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own (a terminal's Ctrl-C is not for it), tied to the caller's life.

    The kernel sends it `farewell` when the thread that called this ends: call it from the main thread.
    """
    words = [
        identity.how,
        identity.account_uid,
        identity.account_gid,
        int(farewell),
        os.getpid(),
    ]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *map(str, words), *command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def tie_to_parent(signum: signal.Signals, parent: int) -> None:
    """Ask the kernel to send this process `signum` when `parent`, which started it, ends. Linux only."""
    if sys.platform == "linux":
        request("prctl", PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)  # The parent ended before the request: the signal would never come.


def adopt_orphans() -> bool:
    """Become the parent of descendants whose own parent ends. False where the system can't (not Linux)."""
    if sys.platform != "linux":
        return False
    request("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return True


def finish(process: subprocess.Popen[bytes] | None, *signals: signal.Signals) -> None:
    """Send the signals in turn, waiting after each, until the process is gone; SIGKILL comes last."""
    if process is None:
        return
    for signum in (*signals, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    process.wait()


def working_in(directory: Path) -> list[int]:
    """Processes whose working directory this is. Both servers go into their data directory and stay there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # Another user's process, or one that just ended.
            if (entry / "cwd").readlink() == directory:
                found.append(int(entry.name))
    return found


def clear_leftovers(directory: Path) -> None:
    """End servers of a killed run that still shut down. The caller holds the directory's lock."""
    for signum in (signal.SIGINT, signal.SIGKILL):
        for pid in working_in(directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        deadline = time.monotonic() + STOP_SECONDS
        while working_in(directory) and time.monotonic() < deadline:
            time.sleep(0.05)


def chown_tree(root: Path, uid: int, gid: int) -> None:
    os.chown(root, uid, gid)
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            os.chown(Path(folder) / name, uid, gid, follow_symlinks=False)


def request(call: str, *arguments: object) -> None:
    """A system call that Python doesn't offer. Raises OSError."""
    if getattr(_libc, call)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


# --- In the child -------------------------------------------------------------------------------------------


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _become_with_reach(uid: int, gid: int) -> None:
    request("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    _become(uid, gid)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    bit = 1 << CAP_DAC_OVERRIDE
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; then bits 32 to 63
    request("capset", ctypes.byref(header), ctypes.byref(sets))
    # An ambient capability outlives exec, also initdb's of the server.
    request("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def _rename(uid: int, gid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    request("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1")


def _exec_as(how: str, uid: int, gid: int, farewell: int, parent: int, command: list[str]) -> None:
    change = {"reach": _become_with_reach, "rename": _rename, "become": _become}
    if how in change:
        change[how](uid, gid)
    tie_to_parent(signal.Signals(farewell), parent)  # Last: a change of user clears the request.
    os.execvp(command[0], command)  # noqa: S606 (a list, as S606 would have it; there is no other exec)


if __name__ == "__main__":
    how, *numbers = sys.argv[1:6]
    account_uid, account_gid, signum, parent_pid = map(int, numbers)
    try:
        _exec_as(how, account_uid, account_gid, signum, parent_pid, sys.argv[6:])
    except OSError as error:
        sys.exit(f"error: {error.strerror}: {sys.argv[6]}")
