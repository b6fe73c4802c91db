"""Writes a secret that is spelled nowhere else, waits on the disk, and leaves a result."""

import base64
import os
import subprocess
import sys
import time

half, other = sys.argv[1:3]
secret = (half + other).encode()
for name in ["notes.txt", "deleted.txt"]:
    with open(name, "wb") as file:
        file.write((secret + b"\n") * 20000)
        os.fsync(file.fileno())
os.mkdir(half + other)
os.unlink("deleted.txt")
state = os.statvfs(".")
print("has", state.f_blocks * state.f_frsize, state.f_files, flush=True)
print("written", flush=True)
time.sleep(8)
with open("result.txt", "wb") as file:
    file.write(base64.b64encode(secret))
os.unlink("notes.txt")
os.rmdir(half + other)
git = ["git", "-c", "user.name=agent", "-c", "user.email=agent@example.org"]
for command in [["add", "result.txt"], ["commit", "-q", "-m", "The result"]]:
    subprocess.run([*git, *command], check=True)
