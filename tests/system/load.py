"""Clients that keep count: of what they asked for, what they got, and what went wrong."""
import re
import socket
import subprocess
import threading
import time

REQUEST = b"GET %s HTTP/1.1\r\nHost: test\r\nConnection: %s\r\n\r\n"
GENERATION = re.compile(rb"from generation (\d+)")


class BadAnswer(Exception):
    pass


def read_answer(sock, pending=b""):
    """One HTTP answer with Content-Length: (status, body, rest)."""
    data = pending
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise BadAnswer(f"connection ended in the head, after {len(data)} bytes")
        data += more
    head, _, data = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: *(\d+)", head).group(1))
    while len(data) < length:
        more = sock.recv(65536)
        if not more:
            raise BadAnswer(f"connection ended after {len(data)} of {length} bytes")
        data += more
    return int(head.split()[1]), data[:length], data[length:]


class Load:
    """Threads that ask all the time, from __enter__ to __exit__. `failures` says what went wrong, and when."""

    def __init__(self, port, path="/", threads=2, timeout=10):
        self.port, self.path, self.timeout = port, path.encode(), timeout
        self.requests, self.failures, self.generations = 0, [], set()
        self.longest_s = 0.0
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._first = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self._first.wait(10)
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(self.timeout + 5)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=self.timeout)

    def note(self, began, status, body):
        found = GENERATION.search(body)
        with self._lock:
            self.requests += 1
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            if found:
                self.generations.add(int(found.group(1)))
            if status != 200:
                self.failures.append(f"status {status}: {body[:100]!r}")
        self._first.set()

    def fail(self, began, why):
        with self._lock:
            self.requests += 1
            self.failures.append(f"{type(why).__name__}: {why} (at {time.time():.3f}, after {time.monotonic() - began:.3f} s)")
        self._first.set()

    def check(self, at_least=1):
        """Asserts that it asked, and that nothing went wrong."""
        assert not self.failures, f"{len(self.failures)} of {self.requests} failed: {self.failures[:5]}"
        assert self.requests >= at_least, f"only {self.requests} requests"


class OneShot(Load):
    """A new connection for each request."""

    def _run(self):
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                with self.connect() as sock:
                    sock.sendall(REQUEST % (self.path, b"close"))
                    status, body, _ = read_answer(sock)
                self.note(began, status, body)
            except (OSError, BadAnswer) as why:
                self.fail(began, why)


class Kept(Load):
    """One connection per thread, busy all the time; a connection that ends is a failure."""

    def _run(self):
        began = time.monotonic()
        try:
            with self.connect() as sock:
                rest = b""
                while not self._stop.is_set():
                    began = time.monotonic()
                    sock.sendall(REQUEST % (self.path, b"keep-alive"))
                    status, body, rest = read_answer(sock, rest)
                    self.note(began, status, body)
        except (OSError, BadAnswer) as why:
            self.fail(began, why)


def get(port, path="/", timeout=5):
    """(status, text) of one request."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock:
        sock.sendall(REQUEST % (path.encode(), b"close"))
        status, body, _ = read_answer(sock)
        return status, body.decode()


def generation(port):
    """The generation that answers a new connection now."""
    return int(re.search(r"from generation (\d+)", get(port)[1]).group(1))


class Wrk:
    """wrk, opening a new connection for every request, for at most `seconds`; stop() ends it early."""

    def __init__(self, port, seconds, connections=8, close=True):
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", f"http://127.0.0.1:{port}/"]
        if close:
            command += ["-H", "Connection: close"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.requests = self.socket_errors = self.bad_status = None

    def result(self):
        """Waits for its end and reads its report."""
        text = self._process.communicate(timeout=120)[0]
        self.text = text
        self.requests = int(re.search(r"(\d+) requests in", text).group(1))
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        self.socket_errors = sum(map(int, errors.groups())) if errors else 0
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        self.bad_status = int(bad.group(1)) if bad else 0
        return self

    def stop(self):
        """wrk reports on SIGINT what it has so far."""
        self._process.send_signal(2)
        return self.result()

    def check(self, at_least=1):
        assert (self.socket_errors, self.bad_status) == (0, 0), self.text
        assert self.requests >= at_least, self.text
