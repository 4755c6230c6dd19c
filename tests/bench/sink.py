"""sink.py PORT: accepts, says one byte, and keeps the connection until the other side ends it."""
import resource
import selectors
import socket
import sys

limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
chosen = selectors.DefaultSelector()
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=4096)
chosen.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in chosen.select():
        if key.fileobj is listener:
            connection = listener.accept()[0]
            connection.sendall(b"!")
            chosen.register(connection, selectors.EVENT_READ)
            continue
        try:
            over = not key.fileobj.recv(4096)
        except OSError:
            over = True
        if over:
            chosen.unregister(key.fileobj)
            key.fileobj.close()
