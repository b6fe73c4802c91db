"""Looks for strings in the memory of processes.

Reads {"canaries": [...], "pids": [...]} from standard input; answers {"found": [[pid, canary], ...],
"searched": [pid, ...]}: the processes whose memory could be read. What lies across two pieces of one
mapping is found too. Without "pids", of every process of the machine, it looks at the memory files and the
files without a name that the process has open, each once, and "searched" are their owners.
"""

import json
import os
import stat
import sys

PIECE = 8 << 20
NOTHING = bytes(PIECE)

asked = json.load(sys.stdin)
wanted = [(canary, canary.encode()) for canary in asked["canaries"]]
longest = max(len(raw) for _, raw in wanted)


def mappings(pid):
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            fields = line.split()
            if fields[1].startswith("r") and fields[-1] not in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                start, end = fields[0].split("-")
                yield int(start, 16), int(end, 16)


def pieces(file, start, end):
    kept, at = b"", start
    while at < end:
        try:
            file.seek(at)
            piece = file.read(min(PIECE, end - at))
        except (OSError, OverflowError, ValueError):
            return
        if not piece:
            return
        if piece != NOTHING[: len(piece)]:
            yield kept + piece
        kept, at = piece[-longest:], at + len(piece)


def strings(file, start, end):
    for piece in pieces(file, start, end):
        yield from (canary for canary, raw in wanted if raw in piece)


def search(pid):
    found = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end in mappings(pid):
            found.update(strings(memory, start, end))
    return found


def nameless(pid):
    """Open regular files of a process that no name leads to."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{number}"
        try:
            state = os.stat(path)
            if stat.S_ISREG(state.st_mode) and os.readlink(path).endswith(" (deleted)"):
                yield path, state
        except OSError:
            continue


def search_nameless(pid):
    found = set()
    for path, state in nameless(pid):
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        with open(path, "rb", buffering=0) as file:
            found.update(strings(file, 0, state.st_size))
    return found


seen = set()
pids, look = asked["pids"], search
if not pids:
    pids, look = [int(name) for name in os.listdir("/proc") if name.isdigit()], search_nameless
found, searched = [], []
for pid in pids:
    try:
        found.extend([pid, canary] for canary in look(pid))
    except OSError:
        continue
    searched.append(pid)
json.dump({"found": found, "searched": searched}, sys.stdout)
