"""The main job: apply, plan, unchanged, rollback warm and cold, held, forced."""
import shutil

import pytest

import load
from agent import BUILD
from wait import wait_for

pytestmark = pytest.mark.sanitized


def test_first_apply_starts_generation_1_and_serves(agent, port):
    result = agent.teal("apply", agent.spec(port=port)).json
    assert result["changed"] and result["result"] == "deployed"
    assert (result["generation"], result["previous"], result["serves"]) == (1, None, 1)
    assert "generation 1" in load.get(port)[1]
    status = agent.teal("status", "hello").json
    assert status["state"] == "serving" and status["active"] == 1
    assert status["listeners"][0]["address"] == f"127.0.0.1:{port}"
    [replica] = agent.replicas()
    assert replica["ready"] and replica["pid"] > 1 and replica["probe"]["ok"]


def test_second_apply_replaces_and_keeps_the_old_one_in_standby(agent, port):
    agent.teal("apply", agent.spec(port=port))
    result = agent.teal("apply", agent.spec(port=port, version="2")).json
    assert (result["generation"], result["previous"]) == (2, 1)
    assert result["diff"]["environment.VERSION"] == ["1", "2"]
    assert "version 2" in load.get(port)[1]
    assert agent.generations() == {2: "active", 1: "standby"}
    slots = {g["number"]: g["slot"] for g in agent.status()["generations"]}
    assert set(slots.values()) == {"blue", "green"}


def test_plan_says_what_would_change_and_changes_nothing(agent, port):
    spec = agent.spec(port=port)
    plan = agent.teal("plan", spec, code=2).json
    assert plan["action"] == "create" and plan["changes"]
    agent.teal("apply", spec)
    assert agent.teal("plan", spec).json["changes"] is False
    plan = agent.teal("plan", agent.spec(port=port, version="2"), code=2).json
    assert plan["action"] == "deploy" and plan["diff"]["environment.VERSION"] == ["1", "2"]
    assert agent.generations() == {1: "active"}


def test_unchanged_file_changes_nothing(agent, port):
    spec = agent.spec(port=port)
    agent.teal("apply", spec)
    before = agent.replicas()
    result = agent.teal("apply", spec).json
    assert result["changed"] is False and result["result"] == "unchanged"
    after = agent.replicas()
    assert [r["pid"] for r in before] == [r["pid"] for r in after]
    assert list(agent.generations()) == [1]


def test_replicas_share_the_requests(agent, port):
    agent.teal("apply", agent.spec(port=port, deploy={"replicas": 3}))
    seen = {load.get(port)[1].split("replica ")[1].split()[0] for _ in range(12)}
    assert seen == {"1", "2", "3"}


def test_rollback_to_standby_is_one_flip(agent, port):
    agent.teal("apply", agent.spec(port=port))
    old = agent.replicas()
    agent.teal("apply", agent.spec(port=port, version="2"))
    result = agent.teal("rollback", "hello").json
    assert result["result"] == "rolled_back" and result["serves"] == 1
    print(f"rollback flip: {result['flip_us']} us, whole: {result['duration_ms']} ms")
    assert agent.replicas() == old or [r["pid"] for r in agent.replicas()] == [r["pid"] for r in old]
    assert "version 1" in load.get(port)[1]


def test_rolled_back_digest_is_held_until_forced_or_changed(agent, port):
    agent.teal("apply", agent.spec(port=port))
    bad = agent.spec(port=port, version="2")
    agent.teal("apply", bad)
    agent.teal("rollback", "hello")
    refused = agent.teal("apply", bad, code=5)
    assert "held" in refused.said or "hold" in refused.said
    assert agent.status()["active"] == 1 and agent.status()["held"]["generation"] == 2
    assert agent.teal("plan", bad, code=None).json["action"] == "held"
    agent.teal("apply", "--force", bad)
    assert "version 2" in load.get(port)[1]
    assert not agent.status()["held"]


def test_another_version_is_not_held(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.teal("apply", agent.spec(port=port, version="2"))
    agent.teal("rollback", "hello")
    agent.teal("apply", agent.spec(port=port, version="3"))
    assert "version 3" in load.get(port)[1]


def test_cold_rollback_needs_neither_the_directory_nor_todays_environment(agent, port, tmp_path):
    rootfs = tmp_path / "rootfs"
    shutil.copytree(BUILD / "examples/hello/rootfs", rootfs)
    env_file = agent.specs / "app.env"
    env_file.write_text("GREETING=first words\n")
    image = f"rootfs:{rootfs}"
    cold = {"standby": "0s"}
    agent.teal("apply", agent.spec(port=port, image=image, env_file="app.env", deploy=cold))
    assert "first words" in load.get(port)[1]
    env_file.write_text("GREETING=second words\n")
    agent.teal("apply", agent.spec(port=port, image=image, env_file="app.env", version="2", deploy=cold))
    assert "second words" in load.get(port)[1]
    wait_for(lambda: list(agent.generations()) == [2], 20, "generation 1 is retired")
    shutil.rmtree(rootfs)
    env_file.unlink()
    with load.OneShot(port) as clients:
        result = agent.teal("rollback", "hello").json
    clients.check()
    assert result["result"] == "rolled_back"
    status, text = load.get(port)
    assert status == 200 and "first words" in text and "version 1" in text


def test_image_is_a_copy(agent, port, tmp_path):
    """Changes to the directory after the apply do not reach what runs, but do reach the next apply."""
    rootfs = tmp_path / "rootfs"
    shutil.copytree(BUILD / "examples/hello/rootfs", rootfs)
    spec = agent.spec(port=port, image=f"rootfs:{rootfs}")
    first = agent.teal("apply", spec).json
    (rootfs / "etc/motd").write_text("changed\n")
    second = agent.teal("apply", spec).json
    assert (first["generation"], second["generation"], second["changed"]) == (1, 2, True)


def test_history_keeps_what_happened(agent, port):
    for version in ("1", "2", "3"):
        agent.teal("apply", agent.spec(port=port, version=version))
    agent.teal("rollback", "hello")
    generations = agent.teal("history", "hello").json["generations"]
    assert [g["number"] for g in generations][:3] == [3, 2, 1]
    assert agent.teal("rollback", "hello", "--to", "1").json["serves"] == 1
    assert "version 1" in load.get(port)[1]


def test_stop_first_lets_new_connections_wait(agent, port):
    order = {"order": "stop-first", "drain_timeout": "2s"}
    agent.teal("apply", agent.spec(port=port, deploy=order))
    with load.OneShot(port, timeout=20) as clients:
        agent.teal("apply", agent.spec(port=port, version="2", deploy=order))
    clients.check()
    assert clients.generations == {1, 2}
    print(f"longest wait: {clients.longest_s * 1000:.0f} ms")


def test_several_ports_flip_together(agent, new_port):
    ports = [new_port(), new_port()]
    both = [f"127.0.0.1:{p}:8080" for p in ports]
    agent.teal("apply", agent.spec(ports=both))
    agent.teal("apply", agent.spec(ports=both, version="2"))
    assert ["version 2" in load.get(p)[1] for p in ports] == [True, True]


def test_a_published_port_can_be_added_and_taken_away(agent, new_port):
    first, second = new_port(), new_port()
    agent.teal("apply", agent.spec(port=first))
    agent.teal("apply", agent.spec(ports=[f"127.0.0.1:{second}:8080"]))
    assert load.get(second)[0] == 200
    with pytest.raises(ConnectionError):
        load.get(first)


def test_logs_are_those_of_the_container(agent, port):
    agent.teal("apply", agent.spec(port=port, version="seven"))
    lines = lambda: agent.teal("logs", "hello", json_output=False).out
    wait_for(lambda: "version seven, generation 1, listening" in lines(), 5, "the start line is logged")
    load.get(port, "/log?n=4")
    wait_for(lambda: "line 4 of 4" in lines(), 5, "stderr is logged")


def test_events_tell_the_story(agent, port):
    agent.teal("apply", agent.spec(port=port))
    events = agent.teal("events").out
    for word in ("deployment.state", "replica.ready", "deployment.done", "replica.started"):
        assert word in events


def test_wait_and_detach(agent, port):
    agent.teal("apply", "--detach", agent.spec(port=port, env={"START_DELAY": "0.5"}))
    assert agent.teal("wait", "hello").json["result"] == "deployed"
    assert load.get(port)[0] == 200


def test_timeout_leaves_it_to_the_agent(agent, port):
    agent.teal("apply", "--timeout", "200ms", agent.spec(port=port, env={"START_DELAY": "2"}), code=4)
    agent.teal("wait", "hello")
    assert load.get(port)[0] == 200
