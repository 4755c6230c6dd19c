"""reaper.py FD PROGRAM ARG…: runs a program as the init of its own little world, so that nothing of it can hide.

Every orphan below it becomes its child. It writes the program's pid to descriptor FD, reaps all that ends, and ends
itself when nothing is left: a reaper that lives on after an agent's end is proof of a leaked process. SIGTERM, or the
end of the test run, kills what is left.
"""
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def children_of(pid):
    """All descendants of a process, parents first."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = open(f"/proc/{name}/stat").read()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    found = list(parents.get(pid, []))
    for child in found:
        found.extend(parents.get(child, []))
    return found


def kill_descendants(*_):
    for pid in children_of(os.getpid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def main():
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    report = int(sys.argv[1])
    pid = os.fork()
    if pid == 0:
        os.close(report)
        os.execvp(sys.argv[2], sys.argv[2:])
    os.write(report, f"{pid}\n".encode())
    os.close(report)
    signal.signal(signal.SIGTERM, kill_descendants)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = 0
    while True:
        try:
            ended, how = os.wait()
        except ChildProcessError:
            sys.exit(status)
        if ended == pid:
            status = os.waitstatus_to_exitcode(how) & 0xFF


if __name__ == "__main__":
    main()
