"""Looks for strings on every disk that a program could have written to.

Reads {"canaries": [...], "since": seconds, "roots": [...], "skip": [...]} from standard input. Of the
file system of / it reads every regular file that changed since then; below the roots it reads all.
Without "since" it reads the roots alone.
Answers {"found": [[path, canary, form], ...], "read": files, "bytes": bytes, "walked": files}.
Raw bytes, base64 at all three alignments (both alphabets), hexadecimal, UTF-16, URL and JSON escapes,
and what zlib, gzip, zip and git packs hold inside. Files over 64 MiB are only searched as they are.
"""

import base64
import io
import json
import mmap
import os
import stat
import sys
import urllib.parse
import zipfile
import zlib

MOST = 64 << 20


def forms(canary):
    raw = canary.encode()
    yield "raw", raw
    yield "reversed", raw[::-1]
    yield "hex", raw.hex().encode()
    yield "HEX", raw.hex().upper().encode()
    yield "utf-16-le", canary.encode("utf-16-le")
    yield "utf-16-be", canary.encode("utf-16-be")
    yield "percent", "".join(f"%{byte:02X}" for byte in raw).encode()
    yield "json", "".join(f"\\u{byte:04x}" for byte in raw).encode()
    yield "numbers", ", ".join(str(byte) for byte in raw).encode()
    yield "numbers", ",".join(str(byte) for byte in raw).encode()
    for shift in range(3):
        # only the characters that no neighbouring byte can change
        whole = base64.b64encode(b"\0" * shift + raw)
        first = (shift * 8 + 5) // 6
        last = (shift + len(raw)) * 8 // 6
        yield "base64", whole[first:last]
        yield "base64url", whole[first:last].replace(b"+", b"-").replace(b"/", b"_")
    quoted = urllib.parse.quote(canary).encode()
    if quoted != raw:
        yield "quoted", quoted


def contents(data):
    """The bytes themselves and what common containers hold."""
    yield "", data
    if data[:2] == b"PK":
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for name in archive.namelist():
                    yield "!" + name, archive.read(name)
        except (zipfile.BadZipFile, OSError, RuntimeError):
            pass
    elif data[:1] == b"\x78" or data[:2] == b"\x1f\x8b":
        try:
            # a git object, or gzip
            yield "!inflated", zlib.decompressobj(47).decompress(data, MOST)
        except zlib.error:
            pass
    elif data[:4] == b"PACK":
        yield "!pack", b"".join(inflated(data))


def inflated(data):
    """Every zlib stream of a git pack."""
    at = 12
    while 0 <= (at := data.find(b"\x78", at)):
        try:
            yield zlib.decompressobj().decompress(data[at:], MOST)
        except zlib.error:
            pass
        at += 1


def files(root, device):
    """Regular files below `root`, on its own file system alone."""
    open_ = [root]
    while open_:
        try:
            with os.scandir(open_.pop()) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if found.st_dev != device or entry.path in SKIP:
                        continue
                    if stat.S_ISDIR(found.st_mode):
                        open_.append(entry.path)
                    elif stat.S_ISREG(found.st_mode):
                        yield entry.path, found
        except OSError:
            continue


asked = json.load(sys.stdin)
SKIP = set(asked["skip"])
wanted = [(canary, *form) for canary in asked["canaries"] for form in forms(canary)]
found, done = [], {"read": 0, "bytes": 0, "walked": 0}


def look(path, size):
    try:
        with open(path, "rb") as file:
            if size > MOST:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    search(path, data)
                done["bytes"] += size
            else:
                data = file.read()
                done["bytes"] += len(data)
                for where, content in contents(data):
                    search(path + where, content)
    except (OSError, ValueError):
        return
    done["read"] += 1


def search(where, content):
    for canary, name, needle in wanted:
        if content.find(needle) >= 0:
            found.append([where, canary, name])


seen = set()
for root in asked["roots"]:
    for path, state in files(root, os.stat(root).st_dev):
        seen.add(path)
        look(path, state.st_size)
if asked["since"] is not None:
    for path, state in files("/", os.stat("/").st_dev):
        done["walked"] += 1
        if path not in seen and max(state.st_mtime, state.st_ctime) >= asked["since"]:
            look(path, state.st_size)
json.dump({"found": found, **done}, sys.stdout)
