"""The rivals of the proxy benchmark, each as its own documentation would set it up for plain TCP on two cores."""
import os
import pathlib
import subprocess
import time

import netns

# What is behind: name -> port of the server. Each proxy listens on BASE + the same order.
SERVERS = {"bulk": 5201, "http": 8000, "idle": 9000}


def listens(base):
    return [(base + i, port) for i, port in enumerate(SERVERS.values())]


HAPROXY = """global
  nbthread 2
  maxconn {maxconn}
defaults
  mode tcp
  option splice-auto
  timeout connect 5s
  timeout client 10m
  timeout server 10m
"""
NGINX = """load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 2;
worker_rlimit_nofile 20000;
pid {dir}/nginx-stream.pid;
error_log {dir}/nginx-stream.log;
events {{ worker_connections 9000; }}
stream {{
{servers}}}
"""


class Proxy:
    """pids(): all its processes, for CPU time and memory."""

    def __init__(self, row, directory, base):
        self.row, self.dir, self.base = row, pathlib.Path(directory), base
        self.process = None

    def start(self):
        self.process = self.launch()

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def port(self, what):
        return self.base + list(SERVERS).index(what)

    def address(self, what):
        return netns.MIDDLE_CLIENT, self.port(what)

    def pids(self):
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return found

    def cpu(self):
        """Seconds of user and system time of all its processes."""
        ticks = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Anonymous memory of all its processes, in bytes, shared pages divided among the sharers."""
        kib = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss_Anon:"):
                    kib += int(line.split()[1])
        return kib * 1024


class Teal(Proxy):
    name = "teal"

    def launch(self):
        build = pathlib.Path(os.environ.get("TEAL_BUILD", "build")).resolve()
        pairs = [f"{netns.MIDDLE_CLIENT}:{here}={netns.SERVER_MIDDLE}:{there}" for here, there in listens(self.base)]
        drive = self.row.start(
            self.row.middle, build / "bench/proxy_drive", build / "teal-proxy", self.dir / "proxy.sock", "2", *pairs,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        word, _, pid = drive.stdout.readline().partition(" ")
        assert word == "ready", "teal-proxy did not start"
        self.pid = int(pid)
        return drive

    def pids(self):
        return [self.pid]

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


class Haproxy(Proxy):
    name = "HAProxy"
    maxconn = 6000

    def launch(self):
        text = HAPROXY.format(maxconn=self.maxconn)
        for here, there in listens(self.base):
            text += f"listen p{here}\n  bind {netns.MIDDLE_CLIENT}:{here}\n  server s {netns.SERVER_MIDDLE}:{there}\n"
        config = self.dir / "haproxy.cfg"
        config.write_text(text)
        return self.row.start(self.row.middle, "haproxy", "-db", "-q", "-f", config)


class Nginx(Proxy):
    name = "nginx"

    def launch(self):
        servers = ""
        for here, there in listens(self.base):
            servers += (f"  server {{ listen {netns.MIDDLE_CLIENT}:{here} reuseport; "
                        f"proxy_pass {netns.SERVER_MIDDLE}:{there}; proxy_timeout 10m; }}\n")
        config = self.dir / "nginx-stream.conf"
        config.write_text(NGINX.format(dir=self.dir, servers=servers))
        return self.row.start(self.row.middle, "nginx", "-p", self.dir, "-c", config)


class Direct(Proxy):
    """No proxy: the kernel forwards."""
    name = "direct"

    def start(self):
        pass

    stop = start

    def address(self, what):
        return netns.SERVER_MIDDLE, SERVERS[what]

    def cpu(self):
        return None

    def memory(self):
        return None


KINDS = (Teal, Haproxy, Nginx, Direct)


def wait_open(row, address, seconds=10):
    """Until someone accepts on the address, as seen from the client's namespace."""
    probe = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()"
    deadline = time.monotonic() + seconds
    while row.run(row.client, "/usr/bin/python3", "-c", probe, address[0], str(address[1]),
                  check=False, stderr=subprocess.DEVNULL).returncode != 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody accepts on {address}")
        time.sleep(0.05)
