"""An agent that only knows what a test tells it: the other side of the command line, for what a real agent can't be made
to do on demand (die in the middle of an answer, come back as another process, answer nonsense)."""
import json
import os
import queue
import socket
import socketserver
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler

AT = "2026-11-24T03:00:00.000Z"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def address_string(self):
        return "unix"

    def log_message(self, *args):
        pass

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        self.server.agent.serve(self, url.path, dict(urllib.parse.parse_qsl(url.query)), json.loads(body) if body else None)

    do_GET = do_POST = do_DELETE = _answer

    def send_json(self, status, value):
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def begin_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True

    def send_line(self, value):
        self.wfile.write(json.dumps(value).encode() + b"\n")
        self.wfile.flush()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 32

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that hung up is no fault
            super().handle_error(request, client_address)


class FakeAgent:
    """`routes` maps (method, path) to an answer: (status, object), or a function of (handler, query, body).
    `deployments` maps ids to pictures; `events` are streamed to followers as they are added."""

    def __init__(self, root):
        self.path = os.path.join(root, "run", "teal.sock")
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.routes, self.deployments, self.events = {}, {}, []
        self.calls = queue.Queue()  # (method, path, query, body) of every request
        self.changed = threading.Condition()
        self._server = None
        self._clients = set()

    # Its life

    def start(self):
        self._server = _Server(self.path, _Handler)
        self._server.agent = self
        self._clients.clear()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def die(self):
        """As by kill -9: the socket's file stays, every connection breaks."""
        server, self._server = self._server, None
        if not server:
            return
        server.shutdown()
        server.server_close()
        for client in list(self._clients):
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        with self.changed:
            self.changed.notify_all()

    def come_back(self):
        os.unlink(self.path)
        return self.start()

    # What it says

    def add_event(self, deployment, kind, data=None, text="", service="web"):
        with self.changed:
            self.events.append({"seq": len(self.events) + 1, "at": AT, "service": service, "deployment": deployment,
                                "type": kind, "text": text, "data": data})
            self.changed.notify_all()

    def add_step(self, deployment, name, status="ok", text="", took_ms=3):
        """Told as an event, and part of the picture from then on."""
        step = {"step": name, "status": status, "text": text, "took_ms": took_ms, "at": AT}
        with self.changed:
            picture = self.deployments[deployment]
            running = picture["steps"] and picture["steps"][-1]["step"] == name
            picture["steps"] = [*(picture["steps"][:-1] if running else picture["steps"]), step]
            picture["seq"] = len(self.events) + 1
            self.add_event(deployment, "deployment.step", step)

    def finish(self, deployment, result):
        with self.changed:
            self.deployments[deployment].update(done=True, state="idle", result=result, seq=len(self.events) + 1)
            self.add_event(deployment, "deployment.done", result)

    def deployment(self, number, service="web", **also):
        """A deployment that runs, and the answer that names it."""
        self.deployments[number] = {"id": number, "service": service, "kind": "deploy", "state": "starting", "done": False,
                                    "from": 6, "to": 7, "by": "alice", "source": f"/etc/{service}.yaml", "created": AT,
                                    "since": AT, "seq": len(self.events), "reason": "starting", "steps": [], "result": None,
                                    **also}
        return 202, {"deployment": number, "after": len(self.events)}

    # How it answers

    def serve(self, handler, path, query, body):
        self._clients.add(handler.connection)
        self.calls.put((handler.command, path, query, body))
        route = self.routes.get((handler.command, path))
        if callable(route):
            route(handler, query, body)
        elif route:
            handler.send_json(*route)
        elif path.startswith("/v1/deployments/") and int(path.split("/")[3]) in self.deployments:
            handler.send_json(200, self.deployments[int(path.split("/")[3])])
        elif path == "/v1/events":
            self._stream_events(handler, query)
        else:
            handler.send_json(404, error("not_found", f"there is nothing at {path}"))

    def _stream_events(self, handler, query):
        mine, sent = self._server, int(query.get("after", 0))
        handler.begin_stream()
        while self._server is mine:
            with self.changed:
                fresh = [e for e in self.events[sent:] if query.get("service") in (None, e["service"])]
                sent = len(self.events)
                if not fresh and not query.get("follow"):
                    return
                if not fresh:
                    self.changed.wait(5)
                    continue
            for event in fresh:
                handler.send_line(event)
            if not query.get("follow"):
                return


def error(code, message, **also):
    return {"error": {"code": code, "message": message, **also}}


def result(kind="deployed", service="web", **also):
    """A verdict, as docs/api.md shows it."""
    bad = kind in ("failed", "aborted", "reverted")
    return {"changed": not bad and kind != "unchanged", "comment": f"{service}: {kind}", "service": service, "generation": 7,
            "previous": 6, "result": kind, "exit": 3 if bad else 0, "duration_ms": 2130,
            "diff": {"environment.LOG_LEVEL": ["info", "debug"]}, "serves": 6 if bad else 7, "flip_us": 0 if bad else 812,
            "drain": {"ended": 52, "cut": 0}, "standby_until": None, "failure": None, "warnings": [], **also}


FAILURE = {"step": "health", "reason": "generation 7 did not become healthy within deploy.healthy_deadline (1m)",
           "probe": 'HTTP 503: {"db":"connection refused"}', "replica": 1,
           "log": [{"at": AT, "stream": "stderr", "line": "ERROR could not connect to postgres\x1b[2J"}],
           "try": ["teal logs web --generation 7", "teal history web"]}
