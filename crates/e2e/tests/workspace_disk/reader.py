"""Reads a file over and over from the disk, until it is refused; then whether the rest still is there."""

import errno
import hashlib
import os
import time

with open("kept", "wb") as file:
    file.write(b"what nobody touched")
    os.fsync(file.fileno())
block = os.urandom(1 << 20)
with open("data", "wb") as file:
    for _ in range(16):
        file.write(block)
    os.fsync(file.fileno())
wanted = hashlib.sha256(block * 16).hexdigest()


def read():
    with open("data", "rb") as file:
        # Clean pages are forgotten, so that what comes is what the disk has.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.sha256(file.read()).hexdigest()


print("read", read() == wanted, flush=True)
for _ in range(240):
    try:
        if read() != wanted:
            print("another content was read", flush=True)
            break
    except OSError as refused:
        print("refused", errno.errorcode[refused.errno], flush=True)
        break
    time.sleep(0.5)
print("kept", open("kept").read(), flush=True)
with open("new", "w") as file:
    file.write("written after it")
    file.flush()
    os.fsync(file.fileno())
print("new", open("new").read(), flush=True)
os.unlink("data")
