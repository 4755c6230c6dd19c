"""`teal restart`: the same spec, made anew without a gap."""
import pytest

import load

pytestmark = pytest.mark.sanitized


def test_restart_replaces_every_container_under_load(agent, port):
    agent.teal("apply", agent.spec(port=port, deploy={"replicas": 2}))
    before = {r["pid"] for r in agent.replicas()}
    with load.OneShot(port) as clients:
        result = agent.teal("restart", "hello").json
        again = agent.teal("restart", "hello").json
    assert clients.failures == []
    assert (result["result"], result["generation"], result["previous"]) == ("deployed", 2, 1)
    assert result["diff"] == {}
    assert again["generation"] == 3, "not a flip to the standby generation of the same spec"
    assert not before & {r["pid"] for r in agent.replicas()}


def test_restart_of_nothing(agent):
    assert "no service" in agent.teal("restart", "ghost", code=1).said
