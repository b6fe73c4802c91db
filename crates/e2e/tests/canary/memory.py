"""Looks for strings in the memory of processes.

Reads {"canaries": [...], "pids": [...]} from standard input; answers {"found": [[pid, canary], ...],
"searched": [pid, ...]}: the processes whose memory could be read. What lies across two pieces of one
mapping is found too.
"""

import json
import sys

PIECE = 8 << 20

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


def search(pid):
    found = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end in mappings(pid):
            kept, at = b"", start
            while at < end:
                try:
                    memory.seek(at)
                    piece = memory.read(min(PIECE, end - at))
                except (OSError, OverflowError, ValueError):
                    break
                if not piece:
                    break
                data = kept + piece
                found.update(canary for canary, raw in wanted if raw in data)
                kept, at = data[-longest:], at + len(piece)
    return found


found, searched = [], []
for pid in asked["pids"]:
    try:
        found.extend([pid, canary] for canary in search(pid))
    except OSError:
        continue
    searched.append(pid)
json.dump({"found": found, "searched": searched}, sys.stdout)
