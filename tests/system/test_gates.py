"""Gates: promote, preview, confirm, and the ways they end by themselves."""
import pytest

import load
from wait import wait_for

pytestmark = pytest.mark.sanitized


def waiting(agent):
    return (agent.status()["deployment"] or {}).get("state") == "awaiting_promotion"


def test_manual_promotion_waits_with_a_preview(agent, port, new_port):
    agent.teal("apply", agent.spec(port=port))
    preview = new_port()
    agent.teal("apply", "--detach",
               agent.spec(port=port, version="2", deploy={"promote": "manual", "preview": f"127.0.0.1:{preview}"}))
    wait_for(lambda: waiting(agent), 20, "generation 2 waits")
    deployment = agent.status()["deployment"]
    assert "teal promote hello" in deployment["reason"] and deployment["until"]
    assert "version 1" in load.get(port)[1]
    assert "version 2" in load.get(preview)[1]
    with load.OneShot(port) as clients:
        result = agent.teal("promote", "hello").json
    assert result["result"] == "deployed" and result["generation"] == 2
    assert clients.failures == []
    assert "version 2" in load.get(port)[1]
    with pytest.raises(OSError):
        load.get(preview)


def test_abort_at_the_gate(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.teal("apply", "--detach", agent.spec(port=port, version="2", deploy={"promote": "manual"}))
    wait_for(lambda: waiting(agent), 20, "generation 2 waits")
    assert agent.teal("abort", "hello").json["result"] == "aborted"
    assert "version 1" in load.get(port)[1]
    assert agent.generations() == {1: "active"}


def test_nobody_promotes(agent, port):
    agent.teal("apply", agent.spec(port=port))
    spec = agent.spec(port=port, version="2", deploy={"promote": "manual", "promote_timeout": "1s"})
    result = agent.teal("apply", spec, code=3).json
    assert "promote_timeout" in result["failure"]["reason"] and result["serves"] == 1


def test_the_gate_survives_the_agent(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.teal("apply", "--detach", agent.spec(port=port, version="2", deploy={"promote": "manual"}))
    wait_for(lambda: waiting(agent), 20, "generation 2 waits")
    agent.kill()
    agent.start()
    assert waiting(agent)
    wait_for(lambda: agent.teal("promote", "hello", code=None).code == 0, 20, "promoted")
    assert "version 2" in load.get(port)[1]


def test_unconfirmed_goes_back(agent, port):
    agent.teal("apply", agent.spec(port=port))
    result = agent.teal("apply", agent.spec(port=port, version="2", deploy={"confirm": "1s"}), code=3).json
    assert result["result"] == "reverted" and "not confirmed" in result["failure"]["reason"]
    assert "version 1" in load.get(port)[1]


def test_confirmed_stays(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.teal("apply", "--detach", agent.spec(port=port, version="2", deploy={"confirm": "60s"}))
    wait_for(lambda: agent.teal("promote", "hello", code=None).code == 0, 20, "confirmed")
    assert agent.status()["active"] == 2 and "version 2" in load.get(port)[1]


def test_promote_with_nothing_to_promote(agent, port):
    agent.teal("apply", agent.spec(port=port))
    assert "nothing waits" in agent.teal("promote", "hello", code=1).said
