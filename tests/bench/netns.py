"""Three network namespaces in a row: client -- middle -- server, joined by veth. Nothing of the host's network changes."""
import os
import subprocess

CLIENT_MIDDLE, MIDDLE_CLIENT = "10.213.1.2", "10.213.1.1"
SERVER_MIDDLE, MIDDLE_SERVER = "10.213.2.2", "10.213.2.1"


def ip(*args):
    subprocess.run(["ip", *args], check=True)


class Row:
    """`client`, `middle` and `server` are names for inside(); the addresses are above."""

    def __enter__(self):
        tag = f"tb{os.getpid()}"
        self.client, self.middle, self.server = (f"{tag}{end}" for end in "cms")
        self.made = []
        try:
            self._make(tag)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self, tag):
        for name in (self.client, self.middle, self.server):
            ip("netns", "add", name)
            self.made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        for outer, outer_address, middle_address, far in (
            (self.client, CLIENT_MIDDLE, MIDDLE_CLIENT, "10.213.2.0/24"),
            (self.server, SERVER_MIDDLE, MIDDLE_SERVER, "10.213.1.0/24"),
        ):
            link = f"{tag}{outer[-1]}"
            ip("link", "add", link, "netns", self.middle, "type", "veth", "peer", "name", "eth0", "netns", outer)
            ip("-n", outer, "addr", "add", f"{outer_address}/24", "dev", "eth0")
            ip("-n", self.middle, "addr", "add", f"{middle_address}/24", "dev", link)
            ip("-n", outer, "link", "set", "eth0", "up")
            ip("-n", self.middle, "link", "set", link, "up")
            ip("-n", outer, "route", "add", far, "via", middle_address)
        self.run(self.middle, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        for name in self.made:  # many short connections between the same two addresses
            self.run(name, "sh", "-c", "echo 1024 65000 >/proc/sys/net/ipv4/ip_local_port_range")

    def __exit__(self, *_):
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], check=False)

    @staticmethod
    def inside(name, *command):
        return ["ip", "netns", "exec", name, *command]

    def run(self, name, *command, **how):
        how = {"check": True, "stdout": subprocess.PIPE, "text": True, **how}
        return subprocess.run(self.inside(name, *command), **how)

    def start(self, name, *command, **how):
        return subprocess.Popen(self.inside(name, *command), **how)
