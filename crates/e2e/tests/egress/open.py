# A tunnel that is still open when the session's time is up; the rest is in inside.py.
import time
sock, status, _ = connect(b"localhost:%d" % ports["through"])
secure = ssl.create_default_context(cafile="ca.pem").wrap_socket(sock, server_hostname="localhost")
secure.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
say("open", status=status, got=len(secure.recv(1000)))
time.sleep(600)
