"""Uses everything up, one after the other. What it prints is how far it came."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time

HOLD = 0.8


def tell(what, won, detail=""):
    line = {"id": "a47", "what": what, "won": bool(won), "detail": str(detail)}
    print(json.dumps(line), flush=True)


def processes():
    children = []
    try:
        while len(children) < 5000:
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except OSError as error:
        reached = errno.errorcode[error.errno]
    else:
        reached = "nothing"
    time.sleep(HOLD)
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    tell("fork bomb", reached != "EAGAIN", f"{len(children)} {reached}")


def disk():
    written = 0
    try:
        with open("/tmp/fill", "wb", buffering=0) as file:
            while written < 1 << 30:
                written += file.write(b"x" * (1 << 20))
    except OSError as error:
        tell("fill the disk", error.errno not in (errno.ENOSPC, errno.EFBIG), f"{written}")
    else:
        tell("fill the disk", True, written)
    time.sleep(HOLD)
    os.unlink("/tmp/fill")


def inodes():
    made = 0
    os.mkdir("/tmp/many")
    try:
        while made < 200_000:
            os.symlink("x", f"/tmp/many/{made}")
            made += 1
    except OSError as error:
        tell("fill the inodes", error.errno != errno.ENOSPC, made)
    else:
        tell("fill the inodes", True, made)
    time.sleep(HOLD)


def descriptors():
    held = []
    try:
        while len(held) < 100_000:
            held.append(os.dup(0))
    except OSError as error:
        tell("descriptors", error.errno != errno.EMFILE, len(held))
    else:
        tell("descriptors", True, len(held))
    for one in held:
        os.close(one)


def memory():
    code = "x = []\nfor _ in range(80): x.append(bytearray(b'x' * (16 << 20)))\nprint(len(x))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE)
    tell("memory", done.returncode == 0, done.returncode)


def log():
    for number in range(4_000):
        try:
            open(f"/root/{number}")
        except OSError:
            pass
    tell("events", False, "4000 attempts")


processes()
disk()
inodes()
descriptors()
memory()
log()
