"""The bake: trouble after the flip takes the connections back by itself."""
import pytest

import load
from wait import wait_for

pytestmark = pytest.mark.sanitized


def bad_apply(agent, port, deploy, **env):
    agent.teal("apply", agent.spec(port=port))
    return agent.teal("apply", agent.spec(port=port, version="2", deploy=deploy, env=env), code=None)


def test_quiet_bake_ends_deployed(agent, port):
    agent.teal("apply", agent.spec(port=port))
    result = agent.teal("apply", agent.spec(port=port, version="2", deploy={"bake_time": "500ms"})).json
    assert result["result"] == "deployed" and result["warnings"] == []
    steps = [e["data"] for e in agent.events() if e["type"] == "deployment.step" and e["generation"] == 2]
    assert [s["status"] for s in steps if s["step"] == "bake"] == ["run", "ok"]


def test_crash_in_the_bake_reverts_without_a_failed_connection(agent, port):
    agent.teal("apply", agent.spec(port=port))
    spec = agent.spec(port=port, version="2", deploy={"bake_time": "20s"})
    agent.teal("apply", "--detach", spec)
    wait_for(lambda: (agent.status()["deployment"] or {}).get("state") == "settling", 20, "generation 2 bakes")
    [victim] = agent.replicas(generation=2)
    with pytest.raises((OSError, load.BadAnswer)):
        load.get(port, "/crash")
    verdict = agent.teal("wait", "hello", code=3).json
    assert verdict["result"] == "reverted" and verdict["serves"] == 1
    assert verdict["failure"]["step"] == "bake" and "exited with code" in verdict["failure"]["reason"]
    assert verdict["failure"]["log"], "the last words of the generation that failed"
    assert "version 1" in load.get(port)[1]
    assert agent.generations() == {1: "active"}
    assert victim["pid"] not in [r["pid"] for r in agent.replicas()]
    assert agent.teal("apply", spec, code=5).json["changed"] is False


def test_sickness_in_the_bake_reverts(agent, port):
    result = bad_apply(agent, port, {"bake_time": "30s"}, SICK_AFTER="1")
    assert result.code == 3 and result.json["result"] == "reverted"
    assert "unready" in result.json["failure"]["reason"]
    assert "503" in result.json["failure"]["probe"]
    assert "version 1" in load.get(port)[1]


def test_auto_revert_false_only_reports(agent, port):
    result = bad_apply(agent, port, {"bake_time": "3s", "auto_revert": False}, SICK_AFTER="1")
    assert result.code == 0 and result.json["result"] == "deployed"
    assert any("unready" in w for w in result.json["warnings"])
    assert agent.status()["active"] == 2


def test_what_revert_on_leaves_out_does_not_revert(agent, port):
    result = bad_apply(agent, port, {"bake_time": "3s", "revert_on": {"unready": False}}, SICK_AFTER="1")
    assert result.code == 0 and result.json["warnings"] == []


def test_the_bake_goes_on_after_the_agent_was_killed(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.teal("apply", "--detach", agent.spec(port=port, version="2", deploy={"bake_time": "30s"}))
    wait_for(lambda: (agent.status()["deployment"] or {}).get("state") == "settling", 20, "generation 2 bakes")
    agent.kill()
    agent.start()
    assert agent.status()["deployment"]["state"] == "settling"
    with pytest.raises((OSError, load.BadAnswer)):
        load.get(port, "/crash")
    assert agent.teal("wait", "hello", code=3).json["result"] == "reverted"
    assert "version 1" in load.get(port)[1]
