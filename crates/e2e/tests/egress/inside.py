"""A client in a room: says what it tried and what came of it, one JSON object a line."""
import json
import os
import socket
import ssl
import sys

ports = json.loads(sys.argv[1])
PROXY = ("127.0.0.1", 8377)


def say(name, **what):
    print(json.dumps({"name": name, **what}), flush=True)


def head(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(4096)
        if not piece:
            break
        data += piece
    first, _, rest = data.partition(b"\r\n\r\n")
    words = first.split(b" ", 2)
    return int(words[1]) if len(words) > 1 else 0, first.decode("latin-1"), rest


def connect(authority):
    sock = socket.create_connection(PROXY, timeout=30)
    sock.sendall(b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority + b"\r\n\r\n")
    status, _, rest = head(sock)
    return sock, status, rest


def code_of(sock, rest):
    sock.settimeout(3)
    try:
        while b"}}" not in rest:
            piece = sock.recv(4096)
            if not piece:
                break
            rest += piece
        return json.loads(rest)["error"]["code"]
    except Exception as error:
        return f"{type(error).__name__} {rest[:80]!r}"


def refused(name, authority):
    sock, status, rest = connect(authority)
    say(name, status=status, code=code_of(sock, rest))


def through(name, authority, server_name, request=b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", cafile="ca.pem"):
    sock, status, _ = connect(authority)
    try:
        context = ssl.create_default_context(cafile=cafile)
        if server_name != "localhost":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        secure = context.wrap_socket(sock, server_hostname=server_name)
        secure.sendall(request)
        body = b""
        while piece := secure.recv(65536):
            body += piece
        say(name, status=status, ok=b"hello from outside" in body, bytes=len(body))
    except OSError as error:
        say(name, status=status, ok=False, error=type(error).__name__)


def plain(name, request):
    sock = socket.create_connection(PROXY, timeout=30)
    sock.sendall(request)
    status, headers, rest = head(sock)
    code = "" if status == 200 else code_of(sock, rest)
    say(name, status=status, code=code, headers=headers)


exec(open("steps.py").read())
