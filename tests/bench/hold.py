"""hold.py ADDRESS PORT COUNT: opens that many connections, each of which the server greets with one byte, says "held",
and keeps them until its standard input ends."""
import resource
import socket
import sys
import time

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
held = []
for _ in range(count):
    held.append(socket.create_connection((address, port), 10))
    held[-1].recv(1)
time.sleep(12)  # what a proxy keeps for young connections only is not what an idle one costs
print("held", flush=True)
sys.stdin.read()
