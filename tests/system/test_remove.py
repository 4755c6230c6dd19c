"""Nothing is left: each test here ends with the fixture's leak check; these look at more than that."""
import pytest

import load
from wait import wait_for

pytestmark = pytest.mark.sanitized


def test_the_leak_check_sees_what_there_is(agent, port):
    agent.teal("apply", agent.spec(port=port))
    seen = agent.on_host()
    assert {"cgroups", "links", "sockets"} <= set(seen), seen
    assert len(agent.processes()) >= 4, "agent, proxy, shim, container"


def test_rm_closes_the_port_and_ends_the_containers(agent, port):
    agent.teal("apply", agent.spec(port=port, deploy={"replicas": 2}))
    agent.teal("apply", agent.spec(port=port, version="2", deploy={"replicas": 2}))
    agent.teal("rm", "hello")
    with pytest.raises(ConnectionRefusedError):
        load.get(port)
    assert agent.api("GET", "/v1/services")["services"] == []
    assert agent.on_host().get("container files") is None


def test_name_can_be_used_again(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.teal("rm", "hello")
    agent.teal("apply", agent.spec(port=port, version="again"))
    assert "version again" in load.get(port)[1]


def test_rm_of_one_service_leaves_the_other(agent, new_port):
    ports = [new_port(), new_port()]
    agent.teal("apply", agent.spec("first", port=ports[0]))
    agent.teal("apply", agent.spec("second", port=ports[1]))
    with load.OneShot(ports[1]) as clients:
        agent.teal("rm", "first")
    clients.check()


def test_descriptors_do_not_grow(agent, port):
    def cycle(n):
        agent.teal("apply", agent.spec(port=port, version=str(n), deploy={"standby": "0s"}))
        load.get(port)

    cycle(0)
    cycle(1)
    settled = lambda: list(agent.generations()) == [agent.status()["active"]]
    wait_for(settled, 20, "only one generation is left")
    before = agent.descriptors(), agent.descriptors(agent.proxy_pid())
    for n in range(2, 8):
        cycle(n)
    wait_for(settled, 20, "only one generation is left")
    after = lambda: (agent.descriptors(), agent.descriptors(agent.proxy_pid()))
    wait_for(lambda: all(a <= b + 1 for a, b in zip(after(), before)), 10, f"descriptors like before: {before}")


def test_two_agents_do_not_meet(agent, new_port, host, tmp_path_factory):
    from agent import Agent
    import os
    import tempfile

    root = tempfile.mkdtemp(prefix="teal-", dir="/tmp")
    os.chmod(root, 0o755)
    other = Agent(root)
    try:
        other.start()
        ports = [new_port(), new_port()]
        agent.teal("apply", agent.spec(port=ports[0], version="mine"))
        other.teal("apply", other.spec(port=ports[1], version="other"))
        assert "version mine" in load.get(ports[0])[1] and "version other" in load.get(ports[1])[1]
        with load.OneShot(ports[0]) as clients:
            other.finish()
        clients.check()
    finally:
        other.destroy()
