"""Writes what its kernel does not write to the disk before it is old, and stays."""

import os
import time

with open("unwritten", "wb") as file:
    for _ in range(48):
        file.write(os.urandom(1 << 20))
print("held in memory", flush=True)
time.sleep(600)
