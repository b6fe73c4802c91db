"""The outside: a server with TLS and one without, on ports of their own. Says where they listen, then
writes every request that arrives to a file, one JSON object a line."""
import http.server
import json
import ssl
import sys
import threading

certificate, key, journal, named = sys.argv[1:]
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        seen = {"port": self.server.server_port, "method": self.command, "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "body": len(body)}
        with lock, open(journal, "a") as file:
            file.write(json.dumps(seen) + "\n")
        content = b"x" * 300_000 if self.path.endswith("big") else b"hello from outside\n"
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.send_header("set-cookie", "a=b")
        self.send_header("alt-svc", 'h3=":443"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

    def log_message(self, *_):
        pass


def start(tls, address="127.0.0.1", port=0):
    server = http.server.ThreadingHTTPServer((address, port), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def usual(tls, port):
    """A server on a port that only root may have; without it, there is none."""
    try:
        return start(tls, named, port)
    except PermissionError:
        return 0


ports = {"address": named, "named tls": usual(True, 443), "named plain": usual(False, 80),
         "high": start(True, named), "through": start(True), "private": start(True),
         "api": start(True), "plain": start(False)}
print(json.dumps(ports), flush=True)
sys.stdin.read()
