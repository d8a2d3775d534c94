"""Runs commands one after the other, each under limits of memory and time, and tells how it ended.

Reads a line of JSON for each, `{"args", "cwd", "memory", "file", "seconds"}`, and answers with one. It is a process of its own, and a
small one: the kernel counts towards the most memory of a child what its parent held when it was forked. So it imports only what it
needs.
"""

import json
import os
import resource
import select
import sys


def limit(kind, value):
    resource.setrlimit(kind, (value, value))


def run(args, cwd, memory, file, seconds):
    """`memory`: bytes of address space; `file`: bytes of a file that it writes."""
    out, err = os.memfd_create("out"), os.memfd_create("err")
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.chdir(cwd)
            limit(resource.RLIMIT_CORE, 0)
            limit(resource.RLIMIT_AS, memory)
            limit(resource.RLIMIT_FSIZE, file)
            os.execve(args[0], args, {**os.environ, "RUST_BACKTRACE": "0", "LC_ALL": "C"})
        finally:
            os._exit(127)
    about = os.pidfd_open(pid)
    ended, _, _ = select.select([about], [], [], seconds)
    if not ended:
        os.kill(pid, 9)
    _, status, usage = os.wait4(pid, 0)
    os.close(about)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "hangs": not ended,
        "peak": usage.ru_maxrss << 10,
        "out": text(out),
        "err": text(err),
    }


def text(file):
    size = os.fstat(file).st_size
    found = os.pread(file, min(size, 1 << 20), 0)
    os.close(file)
    return found.decode("utf-8", "replace")


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
