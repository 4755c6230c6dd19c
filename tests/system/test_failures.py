"""A new version that is no good: the old one serves throughout, the message helps, nothing of the failed one is left."""
import pytest

import load
from wait import wait_for

pytestmark = pytest.mark.sanitized

QUICK = {"healthy_deadline": "3s"}
SICK = dict(env={"SICK": "1"}, deploy=QUICK)
CRASHING = dict(env={"CRASH": "1"}, deploy=QUICK, restart="no")
CRASH_LOOPING = dict(env={"CRASH": "1"}, deploy=QUICK)
CRASHING_LATER = dict(env={"SICK": "1", "CRASH_AFTER": "0.5"}, deploy=QUICK, restart="no")
WRONG_COMMAND = dict(command=["/bin/no-such-program"], deploy=QUICK)
NOT_LISTENING = dict(env={"PORT": "9"}, deploy=QUICK)


@pytest.mark.parametrize(
    "bad, words",
    [
        pytest.param(SICK, ["503", "told to be sick", "listening on port 8080"], id="never healthy"),
        pytest.param(CRASHING, ["42", "crashing, as the environment told me to"], id="crashes at start"),
        pytest.param(CRASH_LOOPING, ["42", "crashing, as the environment told me to"], id="crashes again and again"),
        pytest.param(CRASHING_LATER, ["42", "crashing"], id="crashes while probed"),
        pytest.param(WRONG_COMMAND, ["/bin/no-such-program", "No such file"], id="wrong command"),
        pytest.param(NOT_LISTENING, ["refused", "listening on port 9"], id="listens elsewhere"),
    ],
)
def test_bad_version_never_takes_over(agent, port, bad, words):
    agent.teal("apply", agent.spec(port=port))
    with load.OneShot(port) as clients:
        told = agent.teal("apply", agent.spec(port=port, version="2", **bad), code=3, json_output=False)
    clients.check()
    assert clients.generations == {1}
    for word in [*words, "generation 1", "teal "]:
        assert word in told.said, f"{word!r} is not in:\n{told.said}"
    assert agent.generations() == {1: "active"}
    assert agent.status()["state"] == "serving"


def test_result_of_a_failure_for_scripts(agent, port):
    agent.teal("apply", agent.spec(port=port))
    result = agent.teal("apply", agent.spec(port=port, version="2", **SICK), code=3).json
    assert result["result"] in ("aborted", "failed") and result["serves"] == 1 and result["exit"] == 3
    failure = result["failure"]
    assert "503" in failure["probe"] and failure["replica"] == 1
    assert any("listening" in line["line"] for line in failure["log"])
    assert failure["try"]


def test_failed_generation_keeps_its_record_and_its_logs(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.teal("apply", agent.spec(port=port, version="2", **SICK), code=3)
    newest = agent.teal("history", "hello").json["generations"][0]
    assert newest["number"] == 2 and newest["result"] in ("aborted", "failed") and newest["reason"]
    logs = agent.teal("logs", "hello", "--generation", "2", json_output=False).out
    assert "generation 2, listening" in logs


def test_first_version_that_fails_leaves_nothing_serving(agent, port):
    result = agent.teal("apply", agent.spec(port=port, **SICK), code=3).json
    assert result["serves"] is None
    assert agent.status()["active"] is None
    with pytest.raises(OSError):
        load.get(port, timeout=1)


def test_missing_image_starts_nothing(agent, port):
    agent.teal("apply", agent.spec(port=port))
    told = agent.teal("apply", agent.spec(port=port, image="rootfs:/no/such/dir"), code=None)
    assert told.code in (1, 3, 65)
    assert "/no/such/dir" in told.said
    assert load.generation(port) == 1 and agent.generations() == {1: "active"}


def test_next_good_version_works_after_a_failure(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.teal("apply", agent.spec(port=port, version="2", **CRASHING), code=3)
    agent.teal("apply", agent.spec(port=port, version="3"))
    assert "version 3" in load.get(port)[1]


def test_port_of_somebody_else_is_refused_at_once(agent, new_port):
    port = new_port()
    agent.teal("apply", agent.spec("first", port=port))
    told = agent.teal("apply", agent.spec("second", port=port), code=1)
    assert "first" in told.said and str(port) in told.said
    assert load.generation(port) == 1


def test_bad_spec_is_exit_65_with_its_place(agent, port):
    spec = agent.specs / "bad.yaml"
    spec.write_text("name: hello\nimage: rootfs:/tmp\nprots: []\n")
    told = agent.teal("apply", spec, code=65, json_output=False)
    assert f"{spec}:3:1: error:" in told.err and "ports" in told.err


def test_agent_that_is_not_there_is_exit_69(idle_agent):
    told = idle_agent.teal("status", code=69, json_output=False)
    assert str(idle_agent.socket_path) in told.err


def test_unknown_service_is_named(agent):
    told = agent.teal("rollback", "nobody", code=1, json_output=False)
    assert "nobody" in told.err


def test_nothing_to_roll_back_to(agent, port):
    agent.teal("apply", agent.spec(port=port))
    agent.teal("rollback", "hello", code=1)
    assert load.generation(port) == 1


def test_container_that_ends_is_started_again(agent, port):
    agent.teal("apply", agent.spec(port=port, deploy={"replicas": 2}))
    victim = agent.replicas()[0]
    with load.OneShot(port) as clients:
        with pytest.raises((OSError, load.BadAnswer)):
            load.get(port, "/crash")
        wait_for(lambda: sum(r["restarts"] for r in agent.replicas()) == 1, 20, "one restart is counted")
        wait_for(lambda: all(r["ready"] for r in agent.replicas()), 20, "both are ready again")
    assert load.get(port)[0] == 200
    assert {r["pid"] for r in agent.replicas()} != {victim["pid"]}
    # Requests under way in the replica that crashed are lost with it; no new connection is.
    assert len(clients.failures) <= 2, clients.failures
