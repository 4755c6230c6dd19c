"""One agent of the test's own: its process, its command line, its API, and what it has left behind."""
import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import leaks
from reaper import children_of
from wait import TooLate, wait_for

TREE = pathlib.Path(__file__).resolve().parents[2]
BUILD = (TREE / os.environ.get("TEAL_BUILD", "build")).resolve()
SANITIZED = os.environ.get("TEAL_SANITIZED") == "1"
SANITIZER_REPORT = re.compile(r"ERROR: (Address|Leak)Sanitizer|runtime error:|WARNING: ThreadSanitizer")
# The slowest machine that should still pass; sanitizers cost a few times more.
PATIENCE_S = 60 if SANITIZED else 20


@dataclasses.dataclass
class Result:
    """One run of `teal`."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def said(self):
        return self.out + self.err


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Agent:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.state_dir = self.root / "state"
        self.socket_path = self.root / "run" / "teal.sock"
        self.specs = self.root / "specs"
        self.specs.mkdir(parents=True)
        self.log_path = self.root / "teald.log"
        self.tag = hashlib.sha256(str(self.state_dir.resolve()).encode()).hexdigest()[:6]
        self.environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:halt_on_error=1",
                            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
        self.pid = None
        self.inside = []  # a command that teald is started by: in another namespace, as another user
        self._reapers = []

    # Its life

    def start(self):
        """Starts teald, also over what an earlier one left, and waits until it answers."""
        told, tell = os.pipe()
        with open(self.log_path, "ab") as log:
            reaper = subprocess.Popen(
                [sys.executable, "-S", "-E", TREE / "tests/system/reaper.py", str(tell), *self.inside, BUILD / "teald", "--root", self.root],
                pass_fds=[tell], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
        os.close(tell)
        self._reapers.append(reaper)
        with os.fdopen(told) as pipe:
            self.pid = int(pipe.readline())
        wait_for(lambda: self.answers() or not self.alive(), PATIENCE_S, "teald answers")
        assert self.alive(), f"teald ended at start:\n{self.log()}"

    def alive(self):
        try:
            state = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state != "Z"

    def answers(self):
        try:
            return self.api("GET", "/v1/version")["pid"] == self.pid
        except (OSError, http.client.HTTPException):
            return False

    def signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """The death it can't do anything about."""
        self.signal(signal.SIGKILL)
        wait_for(lambda: not self.alive(), 5, "teald is dead")

    def stop(self):
        self.signal(signal.SIGTERM)
        wait_for(lambda: not self.alive(), PATIENCE_S, "teald stops on SIGTERM")

    def log(self):
        return self.log_path.read_text(errors="replace")

    # Asking it

    def teal(self, *args, code=0, timeout=120, json_output=True):
        """Runs the command line. `code` is what it must exit with; None takes any."""
        command = [BUILD / "teal", "--root", self.root, *(["-o", "json"] if json_output else []), *args]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=self.environment)
        result = Result(ran.returncode, ran.stdout, ran.stderr)
        if code is not None:
            assert result.code == code, f"{args}: exit {result.code}, not {code}\n{result.said}\n--- log\n{self.log()[-3000:]}"
        return result

    def begin(self, *args):
        """Starts `teal` and does not wait for it: for what happens meanwhile. `end` gives its Result."""
        return subprocess.Popen([BUILD / "teal", "--root", self.root, "-o", "json", *args], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment)

    def end(self, process, code=0, timeout=PATIENCE_S * 2):
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == code, f"exit {process.returncode}, not {code}\n{out}{err}\n--- log\n{self.log()[-3000:]}"
        return Result(process.returncode, out, err)

    def api(self, method, path, body=None, timeout=70, read=json.loads):
        connection = _UnixConnection(self.socket_path, timeout)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            return read(connection.getresponse().read())
        finally:
            connection.close()

    def events(self, service="hello"):
        lines = self.api("GET", f"/v1/events?service={service}", read=bytes.splitlines)
        return [json.loads(line) for line in lines]

    def status(self, service="hello"):
        return self.api("GET", f"/v1/services/{service}")

    def replicas(self, service="hello", generation=None):
        """The replicas of one generation (default: the active one) that exist."""
        status = self.status(service)
        wanted = generation or status["active"]
        return [r for g in status["generations"] if g["number"] == wanted for r in g["replicas"]]

    def generations(self, service="hello"):
        """{number: state} of those that have containers."""
        return {g["number"]: g["state"] for g in self.status(service)["generations"]}

    def deployment(self, number):
        return self.api("GET", f"/v1/deployments/{number}?wait_ms=0")

    def wait_deployment(self, number, seconds=60):
        return wait_for(lambda: (d := self.deployment(number))["done"] and d, seconds, f"deployment {number} is done")

    def proxy_pid(self):
        """By looking, not by asking: the child whose program is teal-proxy."""
        for pid in self.processes():
            try:
                if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "teal-proxy":
                    return pid
            except OSError:
                continue
        return None

    # What it is to run

    def spec(self, name="hello", port=None, version="1", env=None, file=None, deploy=None, **keys):
        """Writes a spec for the demo app and returns its path. `keys` replace top-level keys; None leaves one out."""
        spec = {
            "name": name,
            "image": f"rootfs:{BUILD}/examples/hello/rootfs",
            "command": ["/bin/hello"],
            "environment": {"VERSION": version, **(env or {})},
            "ports": [f"127.0.0.1:{port}:8080"] if port else [],
            "healthcheck": {"http": {"path": "/healthz"}, "interval": "200ms", "timeout": "2s"},
            "deploy": {"drain_timeout": "5s", "healthy_deadline": "20s", **(deploy or {})},
            **keys,
        }
        path = self.specs / f"{file or name}.yaml"
        path.write_text(json.dumps({k: v for k, v in spec.items() if v is not None}, indent=2))
        return path

    # What it leaves

    def processes(self):
        """Everything below this agent, whoever started it: containers, shims, the proxy, the agent itself."""
        return [pid for reaper in self._reapers if reaper.poll() is None for pid in children_of(reaper.pid)]

    def on_host(self):
        return leaks.of_agent(self.root, self.tag)

    def descriptors(self, pid=None):
        return len(os.listdir(f"/proc/{pid or self.pid}/fd"))

    def remove_services(self):
        for status in self.api("GET", "/v1/services")["services"]:
            self.teal("rm", status["service"])

    def finish(self):
        """Ends it as a user would, then asserts that nothing of it is left on this host."""
        if not self.alive():
            self.start()
        self.remove_services()
        self.stop()
        try:
            wait_for(lambda: not self.processes(), PATIENCE_S, "all processes end")
        except TooLate:
            raise AssertionError(f"processes left: {[_describe(pid) for pid in self.processes()]}") from None
        left = self.on_host()
        assert not left, f"left behind: {left}"
        report = SANITIZER_REPORT.search(self.log())
        assert not report, f"a sanitizer complained:\n{self.log()[report.start():][:4000]}"

    def destroy(self):
        """Whatever the test left: ends it by force, so that the next test meets a clean host."""
        for reaper in self._reapers:
            while reaper.poll() is None:
                reaper.terminate()
                try:
                    reaper.wait(1)
                except subprocess.TimeoutExpired:
                    continue
        for line in reversed(leaks.mounts(self.root, self.tag)):
            subprocess.run(["umount", "-l", line.split()[4]], capture_output=True)
        for path in sorted(leaks.cgroups(self.tag), key=len, reverse=True):
            try:
                os.rmdir(path)
            except OSError:
                pass
        for link in leaks.links(self.tag):
            subprocess.run(["ip", "link", "del", link], capture_output=True)
        for table in leaks.nft_tables(self.tag):
            for family in ("inet", "ip", "ip6"):
                subprocess.run(["nft", "delete", "table", family, table], capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)


def _describe(pid):
    try:
        return f"{pid} {pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ').decode()}"
    except OSError:
        return str(pid)
