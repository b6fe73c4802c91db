"""Fills the workspace with bytes, then with files, and says what it is refused with."""

import errno
import os
import time

written = 0
with open("full", "wb", buffering=0) as file:
    try:
        while True:
            written += file.write(bytes(1 << 20))
    except OSError as refused:
        print("bytes", errno.errorcode[refused.errno], written, flush=True)
time.sleep(3)
os.unlink("full")
made = 0
try:
    while True:
        open(f"file-{made}", "x").close()
        made += 1
except OSError as refused:
    print("files", errno.errorcode[refused.errno], made, flush=True)
time.sleep(3)
for number in range(made):
    os.unlink(f"file-{number}")
with open("after", "w") as file:
    file.write("there is room again")
print("after", open("after").read(), flush=True)
