# What the caps' test does in its room; the rest is in inside.py.
T, N = ports["through"], ports["plain"]
through("big", b"localhost:%d" % T, "localhost", b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
sock = socket.create_connection(PROXY, timeout=30)
sock.sendall(b"POST http://localhost:%d/files/a HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: 100000\r\n\r\n" % (N, N))
try:
    sock.sendall(b"y" * 100000)
    status, _, rest = head(sock)
except OSError:
    status = 0
say("upload", status=status)
statuses = []
for _ in range(8):
    sock, status, rest = connect(b"localhost:%d" % T)
    statuses.append(status)
    code = "" if status == 200 else code_of(sock, rest)
    sock.close()
say("many", statuses=statuses, code=code)
