"""A deployment that is ended before its end, in each of its states: by `abort`, and by a newer spec."""
import shutil

import pytest

import load
from agent import BUILD
from wait import wait_for
from watch import InState

pytestmark = pytest.mark.sanitized

LONG_DRAIN = {"drain_timeout": "60s"}
STOP_FIRST = {"order": "stop-first", "drain_timeout": "60s"}
LATE = {"START_DELAY": "30"}


def abort_in_state(agent, state):
    return InState(agent, state, lambda: agent.api("POST", "/v1/services/hello/abort", {}))


def serves_undisturbed(agent, port, clients):
    clients.check()
    assert load.generation(port) == 1 and agent.generations() == {1: "active"}
    assert agent.status()["state"] == "serving"


@pytest.mark.parametrize("state", ["starting", "probing"])
def test_abort_before_the_flip(agent, port, state):
    agent.teal("apply", agent.spec(port=port))
    with load.OneShot(port) as clients:
        aborted = abort_in_state(agent, state)
        result = agent.teal("apply", agent.spec(port=port, version="2", env=LATE), code=3).json
        aborted.wait()
        assert clients.generations == {1}
        serves_undisturbed(agent, port, clients)
    assert result["result"] == "aborted" and result["serves"] == 1


def test_abort_while_pulling(agent, port, tmp_path):
    """An image that takes a while: thousands of files to copy."""
    rootfs = tmp_path / "rootfs"
    shutil.copytree(BUILD / "examples/hello/rootfs", rootfs)
    for n in range(4000):
        (rootfs / "tmp" / str(n)).touch()
    agent.teal("apply", agent.spec(port=port))
    with load.OneShot(port) as clients:
        aborted = abort_in_state(agent, "pulling")
        result = agent.teal("apply", agent.spec(port=port, image=f"rootfs:{rootfs}"), code=3).json
        aborted.wait()
        serves_undisturbed(agent, port, clients)
    assert result["result"] == "aborted" and result["generation"] == 2


@pytest.mark.parametrize("state", ["flipping", "settling"])
def test_abort_after_the_flip_flips_back(agent, port, state):
    agent.teal("apply", agent.spec(port=port, deploy=LONG_DRAIN))
    with load.OneShot(port) as clients, load.Kept(port, threads=1) as kept:  # the drain has somebody to wait for
        aborted = abort_in_state(agent, state)
        result = agent.teal("apply", agent.spec(port=port, version="2", deploy=LONG_DRAIN), code=3).json
        aborted.wait()
        serves_undisturbed(agent, port, clients)
    kept.check()
    assert kept.generations == {1} and result["serves"] == 1


def test_abort_while_connections_are_held(agent, port):
    """stop-first: the old generation is still draining, since one client is busy."""
    agent.teal("apply", agent.spec(port=port, deploy=STOP_FIRST))
    with load.OneShot(port, timeout=30) as clients, load.Kept(port, threads=1) as kept:
        aborted = abort_in_state(agent, "holding")
        agent.teal("apply", agent.spec(port=port, version="2", deploy=STOP_FIRST), code=3)
        aborted.wait()
        serves_undisturbed(agent, port, clients)
    kept.check()


@pytest.mark.parametrize("state", ["starting", "probing"])
def test_abort_in_stop_first_brings_the_old_one_back(agent, port, state):
    agent.teal("apply", agent.spec(port=port, deploy=STOP_FIRST))
    with load.OneShot(port, timeout=30) as clients:
        aborted = abort_in_state(agent, state)
        agent.teal("apply", agent.spec(port=port, version="2", env=LATE, deploy=STOP_FIRST), code=3)
        aborted.wait()
        serves_undisturbed(agent, port, clients)
    assert clients.generations == {1}


def test_abort_of_the_first_deployment_leaves_nothing(agent, port):
    aborting = agent.begin("apply", agent.spec(port=port, env=LATE))
    wait_for(lambda: agent.api("GET", "/v1/services")["services"] and agent.status()["deployment"]["state"] == "probing", 10,
             "generation 1 is probed")
    agent.teal("abort", "hello", code=None)
    agent.end(aborting, code=3)
    assert agent.generations() == {}


def test_nothing_to_abort(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.teal("abort", "hello", code=1)
    assert load.generation(port) == 1


def test_superseding_before_the_flip(agent, port):
    """A newer spec ends the deployment that is still probing."""
    agent.teal("apply", agent.spec(port=port))
    with load.OneShot(port) as clients:
        older = agent.begin("apply", agent.spec(port=port, version="2", env=LATE))
        wait_for(lambda: (d := agent.status()["deployment"]) and d["state"] == "probing", 10, "generation 2 is probed")
        agent.teal("apply", agent.spec(port=port, version="3"))
        agent.end(older, code=3)
    clients.check()
    assert clients.generations <= {1, 3} and "version 3" in load.get(port)[1]
    assert 2 not in agent.generations()


def test_newer_spec_after_the_flip_starts_from_there(agent, port):
    agent.teal("apply", agent.spec(port=port, deploy=LONG_DRAIN))
    with load.OneShot(port) as clients, load.Kept(port, threads=1) as kept:
        older = agent.begin("apply", agent.spec(port=port, version="2", deploy=LONG_DRAIN))
        wait_for(lambda: load.generation(port) == 2, 20, "generation 2 serves")
        agent.teal("apply", "--detach", agent.spec(port=port, version="3", deploy=LONG_DRAIN))
        assert load.generation(port) == 2, "it waits its turn"
        kept.stop()
        assert agent.end(older).json["generation"] == 2
        wait_for(lambda: (s := agent.status())["active"] == 3 and not s["deployment"], 20, "generation 3 serves")
    clients.check()
    kept.check()
    assert load.generation(port) == 3
