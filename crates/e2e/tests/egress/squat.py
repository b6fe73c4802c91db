# A room whose commands may start servers: the ports of names are taken all the same.
port = ports["high"]
api = socket.gethostbyname("api.rooms.example")
taken = []
for where in [("127.0.0.1", port), ("0.0.0.0", port), (api, port), (api, 443), ("127.0.0.1", 53)]:
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            squatter.bind(where)
            squatter.listen()
            taken.append(list(where))
        except OSError:
            pass
with socket.socket() as own:
    own.bind(("127.0.0.1", 0))
    own.listen()
    socket.create_connection(own.getsockname(), timeout=5)
    say("own server", ok=True)
try:
    socket.create_connection((api, 22), timeout=5)
    say("other port", ok=True)
except OSError:
    say("other port", ok=False)
say("taken", by=taken)
