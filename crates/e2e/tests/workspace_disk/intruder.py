"""What an agent tries on its workspace's file system beyond reading and writing; says how each try ended."""

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct

libc = ctypes.CDLL(None, use_errno=True)
KIB, MIB = 1 << 10, 1 << 20


def outcome(name, work):
    try:
        return f"{name} {work()}"
    except OSError as refused:
        return f"{name} {errno.errorcode.get(refused.errno, refused.errno)}"


def say(*tries):
    print(", ".join(outcome(*one) for one in tries), flush=True)


def ask(path, request, argument):
    descriptor = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)
    try:
        return fcntl.ioctl(descriptor, request, argument)
    finally:
        os.close(descriptor)


def asking(name, path, request, argument):
    return name, lambda: ask(path, request, argument).hex()


# struct fsxattr: flags, two sizes, project, a third size, padding. FS_XFLAG_PROJINHERIT is 0x200.
def attributes(path):
    return struct.unpack("<5I8s", ask(path, 0x801C581F, bytes(28)))


def change(path, flags, project):
    ask(path, 0x401C5820, struct.pack("<5I8s", flags, 0, 0, project, 0, bytes(8)))


def all_attributes():
    found = (attributes(path) for path in ["mine", "below", "."])
    return ", ".join(f"{flags} {project}" for flags, _, _, project, _, _ in found)


def quota(command):
    buffer = ctypes.create_string_buffer(72)
    descriptor = os.open(".", os.O_RDONLY)
    # quotactl_fd(2), for a project
    if libc.syscall(443, descriptor, ctypes.c_uint(command << 8 | 2), 1, buffer) < 0:
        raise OSError(ctypes.get_errno(), "quotactl")


def allocate(path, mode, size):
    with open(path, "wb") as file:
        if libc.fallocate(file.fileno(), mode, ctypes.c_long(0), ctypes.c_long(size)) < 0:
            raise OSError(ctypes.get_errno(), "fallocate")


for name in ["mine", "other"]:
    with open(name, "wb") as file:
        file.write(name.encode() * (32 * KIB))
os.mkdir("below")
print("attributes", all_attributes(), flush=True)
refused = []
for name, inherit, project in [("project-none", True, 0), ("project-two", True, 2), ("no-inheriting", False, 1)]:
    kept = 0
    for path in ["mine", "below", "."]:
        try:
            change(path, 0x200 if inherit and path != "mine" else 0, project)
        except OSError:
            kept += 1
    # Files inherit nothing on: taking nothing from one is no change.
    refused += [name] if kept == (2 if name == "no-inheriting" else 3) else []
# FS_IOC_SETFLAGS without FS_PROJINHERIT_FL, and with flags that need more rights.
for name, flags in [("no-flags", 0x80000), ("immutable", 0x80010), ("append", 0x80020)]:
    try:
        ask("below", 0x40086602, struct.pack("<q", flags))
    except OSError:
        refused.append(name)
print("refused:", ", ".join(refused), flush=True)
say(
    asking("resize", ".", 0x40086610, struct.pack("<Q", 1 << 30)),
    asking("group-extend", ".", 0x40086607, struct.pack("<Q", 1 << 30)),
    asking("group-add", ".", 0x40286608, bytes(40)),
    asking("shutdown", ".", 0x8004587D, struct.pack("<I", 2)),
    asking("freeze", ".", 0xC0045877, struct.pack("<I", 0)),
    asking("trim", ".", 0xC0185879, struct.pack("<QQQ", 0, 1 << 40, 0)),
    asking("checkpoint", ".", 0x4004662B, struct.pack("<I", 0)),
    asking("identity", ".", 0x4008662C, struct.pack("<II", 16, 0) + bytes(16)),
    asking("label", ".", 0x41009432, b"x" + bytes(255)),
    ("swap-boot", lambda: ask("mine", 0x6611, 0)),
)
say(*[
    (f"quota-{name}", lambda command=command: quota(command))
    for name, command in [("get", 0x800007), ("set", 0x800008), ("off", 0x800003)]
])
say(
    asking("verity", "mine", 0x40806685, struct.pack("<II", 1, 1) + bytes(120)),
    asking("encryption", "below", 0x800C6613, bytes(12)),
)
say(
    ("disk-node", lambda: os.mknod("disk", stat.S_IFBLK | 0o666, os.makedev(254, 1))),
    ("device-node", lambda: os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))),
    ("capability", lambda: os.setxattr("mine", "security.capability", struct.pack("<5I", 0x2000001, 1, 0, 0, 0))),
    ("trusted", lambda: os.setxattr("mine", "trusted.x", b"x")),
)
say(("reserve", lambda: allocate("much", 1, 64 * MIB)))
os.unlink("much")


def holes():
    with open("holes", "wb") as file:
        file.truncate(900 * MIB)
        file.seek(900 * MIB - 4)
        file.write(b"ends")
    with open("holes", "rb") as file:
        file.seek(450 * MIB)
        zero = file.read(MIB) == bytes(MIB)
        file.seek(-4, 2)
        return zero and file.read() == b"ends"


# What was never written is never read from the disk, where it has no tag.
def reserved():
    allocate("reserved", 0, 8 * MIB)
    with open("reserved", "r+b") as file:
        file.seek(MIB + 5)
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        return file.read() == bytes(MIB + 5) + b"x" + bytes(7 * MIB - 6)


def direct():
    descriptor = os.open("direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    page, back = mmap.mmap(-1, 64 * KIB), mmap.mmap(-1, 128 * KIB)
    page.write(b"d" * (64 * KIB))
    os.pwrite(descriptor, page, 64 * KIB)
    os.preadv(descriptor, [back], 0)
    return back[:] == bytes(64 * KIB) + b"d" * (64 * KIB)


def mapped():
    with open("mine", "r+b") as file:
        view = mmap.mmap(file.fileno(), 64 * KIB)
        view[5000:5004] = b"page"
        view.flush()
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(5000)
        return file.read(4) == b"page"


def moved():
    own, donor = os.open("mine", os.O_RDWR), os.open("other", os.O_RDWR)
    # EXT4_IOC_MOVE_EXT: it exchanges blocks, and each file keeps its content.
    fcntl.ioctl(own, 0xC028660F, struct.pack("<IIQQQQ", 0, donor, 0, 0, 16, 0))
    return os.pread(own, 4, 0) == b"mine"


say(*[(work.__name__, work) for work in [holes, reserved, direct, mapped, moved]])
print("attributes at the end", all_attributes(), flush=True)
for line in open("/proc/self/mountinfo"):
    if " /workspace " in line:
        print("mounted", line.split()[5], flush=True)
for name in ["holes", "reserved", "direct"]:
    os.unlink(name)
