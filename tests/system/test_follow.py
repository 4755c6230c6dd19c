"""Commands that stay: logs -f, events -f, wait."""
import json
import select
import signal
import time

import pytest

import load
from agent import PATIENCE_S

pytestmark = pytest.mark.sanitized


class Following:
    """A command that goes on, read line by line."""

    def __init__(self, agent, *args):
        self._process = agent.begin(*args)
        self._rest = b""

    def until(self, wanted, seconds=PATIENCE_S):
        """The first line that wanted() accepts, and all before it."""
        seen, deadline = [], time.monotonic() + seconds
        while True:
            *lines, self._rest = self._rest.split(b"\n")
            for n, line in enumerate(lines):
                seen.append(line.decode())
                if wanted(seen[-1]):
                    self._rest = b"\n".join([*lines[n + 1:], self._rest])
                    return seen
            ready = select.select([self._process.stdout], [], [], max(0, deadline - time.monotonic()))[0]
            assert ready, f"not within {seconds} s; so far: {seen[-5:]}"
            more = self._process.stdout.buffer.raw.read(65536)
            assert more, f"it ended: {self._process.stderr.read()}"
            self._rest += more

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode


def test_logs_follow_from_one_generation_to_the_next(agent, port):
    agent.teal("apply", agent.spec(port=port))
    logs = Following(agent, "logs", "-f", "hello")
    logs.until(lambda line: "generation 1, listening" in line)
    load.get(port, "/log?n=3")
    missing = {"line 1 of 3", "line 2 of 3", "line 3 of 3"}  # on two streams: they come in any order
    logs.until(lambda line: missing.difference_update([m for m in missing if m in line]) or not missing)
    agent.teal("apply", agent.spec(port=port, version="2"))
    logs.until(lambda line: "generation 2, listening" in line)
    assert logs.interrupt() in (0, 130, -signal.SIGINT)


def test_events_follow(agent, port):
    events = Following(agent, "events", "-f")
    agent.teal("apply", agent.spec(port=port))
    seen = [json.loads(line) for line in events.until(lambda line: "deployment.done" in line)]
    numbers = [e["seq"] for e in seen]
    assert numbers == sorted(set(numbers))
    states = [e["text"] for e in seen if e["type"] == "deployment.state"]
    for step in ("pulling -> starting", "starting -> probing", "probing -> flipping", "flipping -> settling"):
        assert any(step in text for text in states), states
    assert events.interrupt() in (0, 130, -signal.SIGINT)


def test_events_survive_a_restart_of_the_agent(agent, port):
    """Those that watch by the command see the events after the restart as well, and none twice."""
    agent.teal("apply", agent.spec(port=port))
    before = [e["seq"] for e in agent.events()]
    agent.kill()
    agent.start()
    agent.teal("apply", agent.spec(port=port, version="2"))
    after = [e["seq"] for e in agent.events()]
    assert after[: len(before)] == before and after == sorted(set(after)) and len(after) > len(before)


def test_wait_gives_the_verdict_of_what_runs(agent, port):
    agent.teal("apply", agent.spec(port=port))
    sick = agent.spec(port=port, version="2", env={"SICK": "1"}, deploy={"healthy_deadline": "1s"})
    agent.teal("apply", "--detach", sick)
    told = agent.teal("wait", "hello", code=3)
    assert told.json["serves"] == 1 and "503" in told.said


def test_interrupting_a_command_leaves_its_deployment_alone(agent, port):
    applying = agent.begin("apply", agent.spec(port=port, env={"START_DELAY": "1"}))
    line = applying.stderr.readline()
    assert "hello" in line
    applying.send_signal(signal.SIGINT)
    applying.communicate(timeout=PATIENCE_S)
    assert agent.teal("wait", "hello").json["result"] == "deployed"
    assert load.get(port)[0] == 200
