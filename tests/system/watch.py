"""Acts at the very moment a deployment enters a state: follows the event stream instead of looking again and again."""
import json
import socket
import threading


class InState:
    """Calls act() in a thread of its own as soon as a deployment of `service` enters `state`. `happened` is set after that."""

    def __init__(self, agent, state, act, service="hello"):
        self._words, self._act, self.happened = f"-> {state} (", act, threading.Event()
        known = agent.events(service)
        last = known[-1]["seq"] if known else 0
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(120)
        self._sock.connect(str(agent.socket_path))
        ask = f"GET /v1/events?follow=1&service={service}&after={max(last - 1, 0)} HTTP/1.1\r\nHost: agent\r\n\r\n"
        self._sock.sendall(ask.encode())
        self._lines = self._sock.makefile("rb")
        if known:  # once the last old event is here, the stream is at work and nothing is missed
            self._read_until(lambda event: event["seq"] == last)
        threading.Thread(target=self._follow, daemon=True).start()

    def _read_until(self, wanted):
        for line in self._lines:
            if line.startswith(b"{") and wanted(json.loads(line)):
                return True
        return False

    def _follow(self):
        try:
            if self._read_until(lambda event: event["type"] == "deployment.state" and self._words in event["text"]):
                self._act()
                self.happened.set()
        except OSError:
            pass  # the test is over
        finally:
            self._sock.close()

    def wait(self, seconds=60):
        assert self.happened.wait(seconds), f"no deployment came to `{self._words}…)`"
