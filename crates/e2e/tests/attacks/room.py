"""Attacks of a command on the room that holds it. Each attempt prints one JSON line: its id, what
was tried, whether it was won, and what came of it. Test material: it must fail everywhere."""

import ctypes
import errno
import json
import mmap
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
WORK = "/workspace"


def tell(number, what, won, detail=""):
    line = {"id": number, "what": what, "won": bool(won), "detail": str(detail)[:2000]}
    print(json.dumps(line), flush=True)


def attempt(number, what, action):
    try:
        came = action()
    except OSError as error:
        tell(number, what, False, errno.errorcode.get(error.errno, error))
    except subprocess.CalledProcessError as error:
        tell(number, what, False, f"exit {error.returncode}")
    else:
        tell(number, what, True, repr(came))


def call(*arguments):
    """A system call by number. Numbers are x86_64's."""
    ctypes.set_errno(0)
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    answer = libc.syscall(*wide)
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return answer


def read(path):
    with open(path, "rb") as file:
        return file.read(64)


def write(path):
    with open(path, "wb") as file:
        file.write(b"owned")


def run(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    return done.stdout[:64]


def links_out():
    os.symlink("/etc/shadow", "a01-file")
    os.symlink("/", "a01-root")
    os.symlink("a01-root/usr", "a01-chain")
    attempt("a01", "read through a link to a file", lambda: read("a01-file"))
    attempt("a01", "read through a link to /", lambda: read("a01-root/root/.ssh/id_rsa"))
    attempt("a01", "write through a link", lambda: write("a01-root/etc/passwd"))
    attempt("a01", "write through a chain of links", lambda: write("a01-chain/a01-owned"))
    for name in ("a01-file", "a01-root", "a01-chain"):
        os.unlink(name)


def other_directories():
    os.chdir("/usr")
    attempt("a02", "write relative to /usr", lambda: write("a02-owned"))
    os.chdir("/")
    attempt("a02", "read relative to /", lambda: read("etc/gshadow"))
    os.chdir(WORK)


def names_that_do_not_resolve():
    attempt("a03", "climb over a missing directory", lambda: read("missing/../../etc/shadow-"))
    attempt("a03", "create over a missing directory", lambda: write("/workspace/none/../../a03-owned"))
    attempt("a03", "create in a directory that is not there", lambda: write("/var/lib/a03-owned"))


def races():
    os.mkdir("a06")
    write("a06/mine")
    os.symlink("/workspace/a06/mine", "a06/swap")
    os.symlink("/etc/passwd", "a06/other")
    swaps = 0

    def swap():
        nonlocal swaps
        while swaps < 10_000:
            # renameat2 with RENAME_EXCHANGE
            call(316, -100, b"a06/swap", -100, b"a06/other", 2)
            swaps += 1

    wins = tries = 0
    swapper = threading.Thread(target=swap)
    swapper.start()
    while swapper.is_alive():
        tries += 1
        try:
            fd = os.open("a06/swap", os.O_WRONLY | os.O_TRUNC)
        except OSError:
            continue
        wins += os.readlink(f"/proc/self/fd/{fd}") != "/workspace/a06/mine"
        os.close(fd)
    swapper.join()
    won = wins or swaps < 10_000
    tell("a06", "swap a link between check and open", won, f"{wins} wins, {swaps} swaps, {tries} tries")
    for name in os.listdir("a06"):
        os.unlink(f"a06/{name}")


def mounts():
    remount_writable = 32 | 4096
    null = ctypes.c_char_p(None)
    attempt("a08", "remount /usr writable", lambda: call(165, null, b"/usr", null, remount_writable, 0))
    attempt("a08", "bind / over the workspace", lambda: call(165, b"/", b"/workspace", null, 4096, 0))
    attempt("a08", "mount a proc", lambda: call(165, b"proc", b"/tmp", b"proc", 0, 0))
    attempt("a08", "unmount /proc", lambda: call(166, b"/proc", 2))
    attempt("a08", "open_tree", lambda: call(428, -100, b"/usr", 1))
    attempt("a08", "fsopen", lambda: call(430, b"tmpfs", 0))
    attempt("a08", "mount_setattr", lambda: call(442, -100, b"/usr", 0, 0, 0))
    attempt("a08", "pivot_root", lambda: call(155, b"/workspace", b"/workspace"))
    attempt("a08", "chroot", lambda: call(161, b"/workspace"))
    attempt("a08", "write a program of the room", lambda: write("/proofroom/proofroom-guest"))
    attempt("a08", "write a program of the system", lambda: write("/usr/bin/python3"))
    attempt("a08", "make a device", lambda: os.mknod("/workspace/disk", 0o60666, os.makedev(8, 0)))
    attempt("a08", "make a file beside the devices", lambda: write("/dev/sda"))


def owners():
    write("a09")
    attempt("a09", "chown to root", lambda: os.chown("a09", 0, 0))
    with open("a09") as file:
        attempt("a09", "fchown to root", lambda: os.fchown(file.fileno(), 0, 0))
    attempt("a09", "chmod a program", lambda: os.chmod("/usr/bin/python3", 0o4777))
    with open("/etc/passwd") as file:
        attempt("a09", "fchmod /etc/passwd", lambda: os.fchmod(file.fileno(), 0o666))
    attempt("a09", "setxattr on a program", lambda: os.setxattr("/usr/bin/env", "user.x", b"1"))
    attempt("a09", "mkdir in /", lambda: os.mkdir("/a09"))
    attempt("a09", "become root", lambda: os.setuid(0))
    attempt("a09", "become root, all three", lambda: os.setresuid(0, 0, 0))
    attempt("a09", "become the root group", lambda: os.setgid(0))
    attempt("a09", "join groups", lambda: os.setgroups([0]))
    os.setuid(os.getuid())
    os.chown("a09", os.getuid(), os.getgid())
    # set-user-id bits may be set on own files; they give nothing
    os.chmod("a09", 0o6755)
    os.unlink("a09")


def aliases():
    with open("/usr/bin/cat", "rb") as original, open("a11-renamed", "wb") as copy:
        copy.write(original.read())
    os.chmod("a11-renamed", 0o755)
    target = "/etc/shadow"
    loader = os.path.realpath("/lib64/ld-linux-x86-64.so.2")
    attempt("a11", "a renamed copy", lambda: run("/workspace/a11-renamed", target))
    attempt("a11", "the dynamic linker", lambda: run(loader, "/workspace/a11-renamed", target))
    attempt("a11", "a name below /proc", lambda: run("/proc/self/root/usr/bin/cat", target))
    memory = os.memfd_create("a11", 0)
    with open("/usr/bin/cat", "rb") as original:
        os.write(memory, original.read())
    attempt("a11", "a memory file", lambda: run(f"/proc/{os.getpid()}/fd/{memory}", target))
    attempt("a11", "an alias of the file", lambda: read("/proc/self/root/etc/shadow"))
    attempt("a11", "an alias by thread", lambda: read("/proc/thread-self/cwd/../etc/shadow"))
    os.unlink("a11-renamed")


def others():
    for name in ("environ", "mem", "maps", "cmdline", "exe", "fd", "root/etc/shadow", "stack"):
        attempt("a12", f"/proc/1/{name}", lambda: read(f"/proc/1/{name}"))
    attempt("a12", "a process of somebody else", lambda: read("/proc/31337/environ"))
    attempt("a12", "ptrace attach", lambda: call(101, 16, 1, 0, 0))
    buffer = ctypes.create_string_buffer(16)
    attempt("a12", "process_vm_readv", lambda: call(310, 1, buffer, 1, buffer, 1, 0))
    attempt("a12", "process_vm_writev", lambda: call(311, 1, buffer, 1, buffer, 1, 0))
    attempt("a12", "pidfd_open of process 1", lambda: os.pidfd_open(1))
    attempt("a12", "pidfd_getfd", lambda: call(438, 3, 0, 0))
    attempt("a12", "kill process 1", lambda: os.kill(1, signal.SIGKILL))
    attempt("a12", "limits of process 1", lambda: resource.prlimit(1, resource.RLIMIT_CORE))
    attempt("a12", "kernel memory", lambda: read("/proc/kcore"))
    attempt("a12", "kernel symbols", lambda: read("/proc/kallsyms"))
    attempt("a12", "the core pattern", lambda: write("/proc/sys/kernel/core_pattern"))
    # one byte is no core file, and keeps a handler of the host's from being started
    tell("a12", "core dumps", max(resource.getrlimit(resource.RLIMIT_CORE)) > 1)


def trees():
    attempt("a13", "hard link to a program", lambda: os.link("/usr/bin/env", "a13"))
    attempt("a13", "hard link to /etc/passwd", lambda: os.link("/etc/passwd", "/workspace/a13"))
    buffer = ctypes.create_string_buffer(128)
    attempt("a13", "name_to_handle_at", lambda: call(303, -100, b"/usr", buffer, buffer, 0))
    attempt("a13", "open_by_handle_at", lambda: call(304, -100, buffer, 0))
    attempt("a13", "bind mount", lambda: call(165, b"/usr", b"/workspace", b"", 4096, 0))
    attempt("a13", "a new user namespace", lambda: call(272, 0x1000_0000))


def routes():
    for name in list(os.environ):
        if "proxy" in name.lower() or name.endswith("_BASE_URL"):
            del os.environ[name]
    targets = [
        (socket.AF_INET, ("1.1.1.1", 443)),
        (socket.AF_INET, ("169.254.169.254", 80)),
        (socket.AF_INET, ("10.0.0.1", 22)),
        (socket.AF_INET, ("127.0.0.1", 22)),
        (socket.AF_INET6, ("2606:4700:4700::1111", 443)),
        (socket.AF_INET6, ("::1", 8080)),
    ]
    for family, address in targets:
        def connect(family=family, address=address):
            with socket.socket(family, socket.SOCK_STREAM) as one:
                one.settimeout(5)
                one.connect(address)
        attempt("a35", f"connect {address[0]} {address[1]}", connect)

    def datagram():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"x", ("8.8.8.8", 53))

    attempt("a35", "udp 8.8.8.8 53", datagram)

    def fast_open():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
            one.sendto(b"x", 0x2000_0000, ("1.1.1.1", 443))

    attempt("a35", "tcp fast open", fast_open)
    attempt("a35", "resolve a name", lambda: socket.getaddrinfo("example.org", 443))

    def serve():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
            one.bind(("0.0.0.0", 4444))
            one.listen()

    attempt("a35", "bind a port", serve)


def families():
    won = []
    for family in range(0, 46):
        if family == socket.AF_UNIX:
            continue
        for kind in (1, 2, 3):
            # TCP is there: it is what the channel is reached with
            if family in (socket.AF_INET, socket.AF_INET6) and kind == 1:
                continue
            try:
                socket.socket(family, kind, 0).close()
            except OSError:
                continue
            won.append((family, kind))
    tell("a39", "every socket family", won, won)
    for protocol in (132, 262):
        attempt("a39", f"stream protocol {protocol}", lambda: socket.socket(2, 1, protocol))
    attempt("a39", "a new network namespace", lambda: call(272, 0x4000_0000))
    with open("/proc/self/ns/net") as own:
        attempt("a39", "setns", lambda: call(308, own.fileno(), 0))
    attempt("a39", "clone into a network namespace", lambda: call(56, 0x4000_0000 | 17, 0, 0, 0, 0))
    attempt("a39", "io_uring", lambda: call(425, 8, ctypes.create_string_buffer(120)))
    attempt("a39", "x32 socket", lambda: call(0x4000_0000 | 41, 40, 1, 0))
    # socketcall(SYS_SOCKET, {AF_VSOCK, SOCK_STREAM, 0}) by the 32-bit entry, memory below 4 GiB
    low = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    libc.mmap.restype = ctypes.c_void_p
    page = libc.mmap(ctypes.c_void_p(0x10_0000), ctypes.c_size_t(4096), low, 0x32, -1, 0)
    code = b"\x53\xb8\x66\0\0\0\xbb\x01\0\0\0\xb9\x00\x08\x10\x00\xcd\x80\x5b\xc3"
    if page != 0x10_0000:
        tell("a39", "32-bit socketcall", False, "no memory there")
    else:
        ctypes.memmove(page, code, len(code))
        ctypes.memmove(page + 0x800, (40).to_bytes(4, "little") + b"\1\0\0\0" + b"\0" * 8, 16)
        answer = ctypes.CFUNCTYPE(ctypes.c_int)(page)()
        tell("a39", "32-bit socketcall", answer >= 0, answer)
    for path in ("/var/run/docker.sock", "/run/dbus/system_bus_socket", "/run/user/0/bus"):
        def connect(path=path):
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(path)
        attempt("sockets", f"unix {path}", connect)


def environment():
    allowed = {
        "HOME", "PATH", "LANG", "PWD", "LC_CTYPE", "PROOFROOM", "OPENAI_BASE_URL",
        "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN",
    }
    more = {n: v for n, v in os.environ.items() if n not in allowed}
    tell("environment", "a variable that nobody gave", more, sorted(more))
    keys = {n: v for n, v in os.environ.items() if n.endswith(("_KEY", "_TOKEN")) and v != "room"}
    tell("environment", "a key in a variable", keys, sorted(keys))


# What is visible by name; everything below is the operator's choice or the agent's own.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/proofroom")
OWN = ("/workspace", "/tmp", "/home/agent", "/dev/shm")
SETTINGS = {
    "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf",
    "/etc/ca-certificates.conf", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/localtime",
    "/run/proofroom/nsswitch.conf", "/run/proofroom/resolv.conf",
}
TREES = ("/etc/ssl/certs", "/etc/alternatives", "/etc/ld.so.conf.d")
DEVICES = {f"/dev/{n}" for n in ("null", "zero", "full", "random", "urandom", "tty")}
AGENT_SOCKET = "/run/proofroom/agent.sock"
LINKS = {f"/dev/{n}" for n in ("fd", "stdin", "stdout", "stderr")}


def below(path, roots):
    return any(path == root or path.startswith(root + "/") for root in roots)


def files():
    """Everything visible outside of /proc and the system; what could be read; what could be written."""
    seen, readable, writable = 0, [], []
    for top, directories, names in os.walk("/", followlinks=False):
        if top == "/":
            directories.remove("proc")
        for name in directories + names:
            path = os.path.join(top, name)
            seen += 1
            if os.access(path, os.W_OK, follow_symlinks=False) and not os.path.islink(path):
                if not below(path, OWN) and path not in DEVICES and path != AGENT_SOCKET:
                    writable.append(path)
            known = below(path, SYSTEM + OWN + TREES) or path in SETTINGS | DEVICES | LINKS
            known = known or path == AGENT_SOCKET
            if name in names and not known and os.access(path, os.R_OK):
                readable.append(path)
        directories[:] = [d for d in directories if os.path.join(top, d) not in SYSTEM]
    # the system's files are many: their mounts tell, and the mounts above them
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            fields = line.split()
            if not below(fields[4], OWN + ("/proc", "/dev", "/run")) and "ro" not in fields[5].split(","):
                writable.append(fields[4])
    tell("files", "a readable file that nobody gave", readable, readable or f"{seen} seen")
    tell("files", "a writable place outside the agent's own", writable, writable or f"{seen} seen")
    for path in ("/root/.ssh/id_ed25519", "/root/.aws/credentials", "/etc/proofroom/keys/x",
                 "/var/lib/proofroom/keys/log", "/home/user/.netrc", "/srv/secret"):
        attempt("files", path, lambda: read(path))
        attempt("files", f"write {path}", lambda: write(path))


def processes():
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    strangers = []
    for number in numbers:
        try:
            with open(f"/proc/{number}/status") as file:
                uid = re.search(r"^Uid:\t(\d+)", file.read(), re.M)
        except OSError:
            continue
        if uid.group(1) != str(os.getuid()):
            strangers.append(number)
    tell("processes", "a process of somebody else's", strangers, numbers)
    tell("processes", "more than this one", [n for n in numbers if n != os.getpid()], numbers)
    for number in (2, 3, 99, 4000, 100_000):
        if number != os.getpid():
            attempt("processes", f"/proc/{number}", lambda: read(f"/proc/{number}/cmdline"))


def credentials():
    """The provider's key is `prk-live-` and 32 hex digits; the pattern here is not one."""
    import http.client
    body = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}
    channel = http.client.HTTPConnection("127.0.0.1", 8377, timeout=30)
    channel.request("POST", "/v1/chat/completions", json.dumps(body),
                    {"content-type": "application/json", "authorization": "Bearer room"})
    answer = channel.getresponse()
    text = answer.read() + str(answer.getheaders()).encode()
    tell("credentials", "the model answers", False, answer.status)
    pattern = re.compile(rb"prk-" + rb"live-[0-9a-f]{32}|BEGIN (?:EC |OPENSSH )?PRIVATE" + rb" KEY-----\s+[A-Za-z0-9+/=\s]{60}")
    found = [f"answer {m[:12]}" for m in pattern.findall(text)]
    scanned = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps.readlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if not match or "[v" in line:
                continue
            start, end = (int(group, 16) for group in match.groups())
            try:
                memory.seek(start)
                part = memory.read(end - start)
            except (OSError, OverflowError, ValueError):
                continue
            scanned += len(part)
            found += [f"memory {m[:12]}" for m in pattern.findall(part)]
    tell("credentials", "own memory", found, found or f"{scanned} bytes")
    found, scanned = [], 0
    for number in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline"):
            try:
                with open(f"/proc/{number}/{name}", "rb") as file:
                    found += pattern.findall(file.read())
            except OSError:
                continue
    for top, directories, names in os.walk("/"):
        if top == "/":
            for skipped in ("proc", "usr", "bin", "sbin", "lib", "lib64", "dev"):
                if skipped in directories:
                    directories.remove(skipped)
        for name in names:
            path = os.path.join(top, name)
            if not os.path.isfile(path) or not os.access(path, os.R_OK):
                continue
            with open(path, "rb") as file:
                scanned += 1
                if pattern.search(file.read()):
                    found.append(path)
    tell("credentials", "environment and disk", found, found or f"{scanned} files")


def tools():
    import http.client
    for name in ("read_file", "run", "write_file"):
        channel = http.client.HTTPConnection("127.0.0.1", 8377, timeout=30)
        channel.request("POST", f"/tool/v1/{name}", json.dumps({"path": "/etc/passwd", "argv": ["id"]}))
        answer = channel.getresponse()
        tell("tools", name, answer.status == 200, answer.status)


GROUPS = {
    "files": [links_out, other_directories, names_that_do_not_resolve, races, mounts, owners, trees],
    "processes": [aliases, others, routes, families],
    "clauses": [environment, files, processes, credentials, tools],
}

os.chdir(WORK)
for group in GROUPS[sys.argv[1]]:
    group()
