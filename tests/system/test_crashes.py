"""kill -9 of the agent and of the proxy: nobody outside notices, and what was begun is finished."""
import contextlib
import http.client
import os
import signal
import threading
import time

import pytest

import load
from agent import SANITIZED
from wait import wait_for
from watch import InState

pytestmark = pytest.mark.sanitized


def kill_process(pid):
    os.kill(pid, signal.SIGKILL)


def test_agent_dies_idle(agent, port):
    drain = {"drain_timeout": "60s"}
    agent.teal("apply", agent.spec(port=port, deploy=drain))
    before = agent.replicas()[0]["pid"]
    with load.OneShot(port) as clients, load.Kept(port, threads=1) as kept:
        agent.kill()
        asked = clients.requests
        wait_for(lambda: clients.requests > asked + 20, 10, "traffic flows without an agent")
        agent.start()
        applying = agent.begin("apply", agent.spec(port=port, version="2", deploy=drain))
        wait_for(lambda: load.generation(port) == 2, 20, "new connections reach generation 2")
        kept.stop()
        agent.end(applying)
    clients.check()
    kept.check()
    assert clients.generations == {1, 2}
    assert before in [r["pid"] for r in agent.replicas(generation=1)], "the container was adopted, not started again"


def test_agent_stops_and_starts_over_running_containers(agent, port):
    agent.teal("apply", agent.spec(port=port))
    before = agent.replicas()[0]["pid"]
    with load.OneShot(port) as clients:
        agent.stop()
        agent.start()
    clients.check()
    assert agent.replicas()[0]["pid"] == before
    assert agent.teal("apply", agent.spec(port=port)).json["changed"] is False


def kill_in_state(agent, state):
    return InState(agent, state, lambda: agent.signal(signal.SIGKILL))


def start_again_after(agent, killed):
    killed.wait()
    wait_for(lambda: not agent.alive(), 5, "teald is dead")
    agent.start()


@pytest.mark.parametrize("state", ["pulling", "starting", "probing", "flipping", "settling"])
def test_agent_dies_while_deploying(agent, port, state):
    agent.teal("apply", agent.spec(port=port))
    with load.OneShot(port) as clients:
        killed = kill_in_state(agent, state)
        agent.teal("apply", "--detach", agent.spec(port=port, version="2", env={"START_DELAY": "0.2"}), code=None)
        start_again_after(agent, killed)
        wait_for(lambda: agent.status()["deployment"] is None and agent.status()["active"] == 2, 30, "generation 2 serves")
    clients.check()
    assert "version 2" in load.get(port)[1]
    assert agent.generations() == {2: "active", 1: "standby"}


@pytest.mark.parametrize("state", ["aborting"])
def test_agent_dies_while_giving_up(agent, port, state):
    agent.teal("apply", agent.spec(port=port))
    with load.OneShot(port) as clients:
        killed = kill_in_state(agent, state)
        bad = agent.spec(port=port, version="2", env={"SICK": "1"}, deploy={"healthy_deadline": "1s"})
        agent.teal("apply", "--detach", bad, code=None)
        start_again_after(agent, killed)
        wait_for(lambda: agent.status()["deployment"] is None, 30, "the deployment is over")
    clients.check()
    assert clients.generations == {1} and agent.generations() == {1: "active"}


@pytest.mark.parametrize("state", ["holding", "starting", "probing", "flipping", "settling"])
def test_agent_dies_in_stop_first(agent, port, state):
    """Connections wait until the agent is back and has finished what it began."""
    order = {"order": "stop-first", "drain_timeout": "2s"}
    agent.teal("apply", agent.spec(port=port, deploy=order))
    with load.OneShot(port, timeout=30) as clients:
        killed = kill_in_state(agent, state)
        applying = agent.begin("apply", agent.spec(port=port, version="2", deploy=order))
        start_again_after(agent, killed)
        assert agent.end(applying).json["result"] == "deployed"
        wait_for(lambda: 2 in clients.generations, 10, "clients reach generation 2")
    clients.check()
    assert "version 2" in load.get(port)[1]


def test_agent_dies_while_bringing_the_stopped_one_back(agent, port):
    order = {"order": "stop-first", "drain_timeout": "2s", "healthy_deadline": "1s"}
    agent.teal("apply", agent.spec(port=port, deploy=order))
    with load.OneShot(port, timeout=30) as clients:
        killed = kill_in_state(agent, "reverting")
        applying = agent.begin("apply", agent.spec(port=port, version="2", env={"SICK": "1"}, deploy=order))
        start_again_after(agent, killed)
        agent.end(applying, code=3)
    clients.check()
    assert clients.generations == {1} and load.generation(port) == 1
    assert agent.generations() == {1: "active"}


def test_agent_dies_while_taking_a_flip_back(agent, port):
    """An abort after the flip flips back: killed in the middle of that, the old generation serves in the end."""
    drain = {"drain_timeout": "60s"}
    agent.teal("apply", agent.spec(port=port, deploy=drain))
    with load.OneShot(port) as clients, load.Kept(port, threads=1) as kept:
        killed = kill_in_state(agent, "reverting")
        applying = agent.begin("apply", agent.spec(port=port, version="2", deploy=drain))
        wait_for(lambda: load.generation(port) == 2, 20, "new connections reach generation 2")
        with contextlib.suppress(OSError, http.client.HTTPException):  # it may die before it has answered
            agent.api("POST", "/v1/services/hello/abort", {})
        start_again_after(agent, killed)
        agent.end(applying, code=3)
    clients.check()
    kept.check()
    assert kept.generations == {1} and load.generation(port) == 1
    assert agent.generations() == {1: "active"}


def test_agent_dies_while_removing(agent, port):
    agent.teal("apply", agent.spec(port=port))
    killed = kill_in_state(agent, "removing")
    removing = agent.begin("rm", "hello")
    start_again_after(agent, killed)
    wait_for(lambda: not agent.api("GET", "/v1/services")["services"], 30, "the service is gone")
    agent.end(removing)


def test_agent_dies_while_rolling_back(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.teal("apply", agent.spec(port=port, version="2"))
    with load.OneShot(port) as clients:
        killed = kill_in_state(agent, "flipping")
        going_back = agent.begin("rollback", "hello")
        start_again_after(agent, killed)
        assert agent.end(going_back).json["serves"] == 1, "the command outlives the agent"
    clients.check()
    assert load.generation(port) == 1
    agent.teal("apply", agent.spec(port=port, version="2"), code=5)


@pytest.mark.long
@pytest.mark.parametrize("delay_ms", range(0, 600, 20))
def test_agent_dies_at_any_time(agent, port, delay_ms):
    agent.teal("apply", agent.spec(port=port))
    with load.OneShot(port) as clients:
        agent.teal("apply", "--detach", agent.spec(port=port, version="2", env={"START_DELAY": "0.2"}))
        threading.Event().wait(delay_ms / 1000)
        agent.kill()
        agent.start()
        wait_for(lambda: agent.status()["deployment"] is None and agent.status()["active"] == 2, 30, "generation 2 serves")
    clients.check()


def test_container_that_ended_without_an_agent_is_started_again(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.kill()
    with pytest.raises((OSError, load.BadAnswer)):
        load.get(port, "/crash")
    agent.start()
    wait_for(lambda: agent.replicas() and agent.replicas()[0]["ready"], 20, "it is ready again")
    assert load.generation(port) == 1


SERVED_AGAIN_S = 2 if SANITIZED else 0.3


def test_proxy_dies(agent, port):
    """Established connections break; no new one is refused, and the first is served soon."""
    agent.teal("apply", agent.spec(port=port))
    proxy = agent.proxy_pid()
    assert proxy
    kill_process(proxy)
    began = time.monotonic()
    status = None
    while status is None:
        try:
            status = load.get(port, timeout=5)[0]
        except ConnectionRefusedError:
            raise
        except (OSError, load.BadAnswer):
            assert time.monotonic() - began < 10  # was in the dead proxy's hands when it died
    took = time.monotonic() - began
    print(f"served again {1000 * took:.0f} ms after the proxy's death")
    assert status == 200 and took <= SERVED_AGAIN_S
    wait_for(lambda: agent.proxy_pid() not in (None, proxy), 10, "another proxy runs")
    agent.teal("apply", agent.spec(port=port, version="2"))
    assert load.generation(port) == 2


def test_proxy_dies_under_load(agent, port):
    """Only connections that it held are lost: not one is refused, and later ones are all served."""
    agent.teal("apply", agent.spec(port=port))
    with load.OneShot(port, threads=4) as clients:
        kill_process(agent.proxy_pid())
        asked = clients.requests
        wait_for(lambda: clients.requests > asked + 100, 10, "traffic flows again")
        broken = len(clients.failures)
        wait_for(lambda: clients.requests > asked + 200, 10, "it goes on")
    assert not [f for f in clients.failures if "Refused" in f]
    assert len(clients.failures) == broken <= 4, clients.failures


def test_proxy_and_agent_die(agent, port):
    agent.teal("apply", agent.spec(port=port))
    proxy = agent.proxy_pid()
    agent.kill()
    kill_process(proxy)
    agent.start()
    wait_for(lambda: agent.replicas()[0]["ready"], 20, "the replica is ready")
    assert load.generation(port) == 1


def test_shim_dies(agent, port):
    """Its container dies with it: no unwatched process lives on. The restart policy brings it back."""
    agent.teal("apply", agent.spec(port=port, restart="always"))
    inside = agent.replicas()[0]["pid"]
    shim = int(open(f"/proc/{inside}/stat").read().rpartition(")")[2].split()[1])
    kill_process(shim)
    wait_for(lambda: inside not in agent.processes(), 5, "the container ends with its shim")
    wait_for(lambda: (r := agent.replicas()) and r[0]["ready"] and r[0]["pid"] != inside, 20, "it was started again")
    assert load.generation(port) == 1
