"""A host of the test's own: a network namespace with one uplink, and another one that plays the outside world."""
import contextlib
import os
import subprocess
import sys

from wait import wait_for

HOST, WORLD = "198.51.100.1", "198.51.100.2"
# Says to everyone who connects where they come from.
MIRROR = f"""
import socket
server = socket.create_server(("{WORLD}", 7))
print("ready", flush=True)
while True:
    client, address = server.accept()
    client.sendall(address[0].encode() + b"\\n")
    client.close()
"""


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Island:
    def __init__(self):
        self.name, self.world = f"tealt-{os.getpid()}-h", f"tealt-{os.getpid()}-w"
        self.enter = ["nsenter", f"--net=/run/netns/{self.name}", "--"]

    def run(self, *command):
        return run(*self.enter, *command)

    def forwarding(self):
        return self.run("cat", "/proc/sys/net/ipv4/ip_forward").strip()


@contextlib.contextmanager
def island():
    it = Island()
    mirror = None
    try:
        for name in (it.name, it.world):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", it.name, "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", it.world)
        for name, address in ((it.name, HOST), (it.world, WORLD)):
            run("ip", "-n", name, "address", "add", f"{address}/30", "dev", "up0")
            run("ip", "-n", name, "link", "set", "up0", "up")
        run("ip", "-n", it.name, "route", "add", "default", "via", WORLD)
        it.run("sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward")
        mirror = subprocess.Popen(["nsenter", f"--net=/run/netns/{it.world}", "--", sys.executable, "-c", MIRROR],
                                  stdout=subprocess.PIPE)
        assert mirror.stdout.readline() == b"ready\n"
        yield it
    finally:
        if mirror:
            mirror.kill()
            mirror.wait()
        for name in (it.name, it.world):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        wait_for(lambda: it.name not in run("ip", "netns", "list"), 5, "the island is gone")
