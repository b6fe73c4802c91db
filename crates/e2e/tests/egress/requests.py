# What the requests' test does in its room; the rest is in inside.py.
import http.client
import subprocess

A, N = ports["api"], ports["plain"]
ca = os.environ["SSL_CERT_FILE"]
say("environment", ca=ca, same=os.environ["CARGO_HTTP_CAINFO"] == ca == os.environ["PIP_CERT"])


def secure(name, method, path, headers=None, body=None, host=None, cafile=ca):
    try:
        connection = http.client.HTTPSConnection(*PROXY, timeout=30, context=ssl.create_default_context(cafile=cafile))
        connection.set_tunnel("localhost", A)
        connection.request(method, path, body, {"Host": host or f"localhost:{A}", **(headers or {})})
        answer = connection.getresponse()
        content = answer.read()
        code = "" if answer.status == 200 else json.loads(content)["error"]["code"]
        say(name, status=answer.status, code=code, bytes=len(content),
            headers=sorted(name.lower() for name in dict(answer.getheaders())))
    except (OSError, http.client.HTTPException) as error:
        say(name, status=0, error=type(error).__name__)


stolen = {"Authorization": "Bearer stolen", "Cookie": "session=stolen", "X-Api-Key": "stolen",
          "Proxy-Authorization": "Basic c3RvbGVu", "X-Wanted": "yes", "X-Other": "no", "Accept": "text/plain",
          "User-Agent": "thief"}
secure("allowed", "GET", "/v1/tickets/7", stolen)
secure("posted", "POST", "/v1/tickets/8", {"Content-Type": "text/plain"}, b"note" * 100)
secure("other method", "DELETE", "/v1/tickets/7")
secure("other path", "GET", "/v1/users")
secure("climbing", "GET", "/v1/tickets/../users")
secure("climbing encoded", "GET", "/v1/tickets/%2e%2e/users")
secure("double slash", "GET", "/v1/tickets//users")
secure("semicolon", "GET", "/v1/tickets/..;/users")
secure("query", "GET", "/v1/tickets/7?token=stolen")
secure("other host header", "GET", "/v1/tickets/7", host="evil.example")

# One connection, two requests: the second is decided by itself.
connection = http.client.HTTPSConnection(*PROXY, timeout=30, context=ssl.create_default_context(cafile=ca))
connection.set_tunnel("localhost", A)
statuses = []
for path in ["/v1/tickets/9", "/v1/admin", "/v1/tickets/10"]:
    connection.request("GET", path, headers={"Host": f"localhost:{A}"})
    answer = connection.getresponse()
    answer.read()
    statuses.append(answer.status)
say("kept alive", statuses=statuses)

context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
sock, status, _ = connect(b"localhost:%d" % A)
try:
    other = context.wrap_socket(sock, server_hostname="other.example")
    other.sendall(b"GET /v1/tickets/7 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    say("other sni", got=len(other.recv(100)))
except OSError as error:
    say("other sni", got=0)

plain("plain", b"GET http://localhost:%d/files/a HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n" % (N, N))
plain("plain elsewhere", b"GET http://localhost:%d/other HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % (N, N))
plain("plain upload", b"PUT http://localhost:%d/files/a HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: 0\r\n\r\n" % (N, N))
plain("two hosts", b"GET http://localhost:%d/files/a HTTP/1.1\r\nHost: localhost:%d\r\nHost: evil.example\r\n\r\n" % (N, N))
plain("differing host", b"GET http://localhost:%d/files/a HTTP/1.1\r\nHost: evil.example\r\n\r\n" % N)
plain("user name", b"GET http://u:p@localhost:%d/files/a HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % (N, N))
refused("tunnel to plain", b"localhost:%d" % N)


def curl(name, url):
    done = subprocess.run(["curl", "-sS", "--noproxy", "", "-x", "http://127.0.0.1:8377", "--cacert", ca, url],
                          capture_output=True)
    say(name, code=done.returncode, bytes=len(done.stdout), error=done.stderr.decode()[-200:])


curl("curl", f"https://localhost:{A}/v1/tickets/curl")
curl("curl in clear", f"http://localhost:{N}/files/b")
