"""What a process in a container sees, and what it can't."""
import json
import os
import pathlib

import pytest

import load
from wait import wait_for

pytestmark = pytest.mark.sanitized

# What Docker leaves a container by default; ours may leave less.
DOCKER_CAPABILITIES = 0x00000000A80425FB


@pytest.fixture
def inside(agent, port):
    agent.teal("apply", agent.spec(port=port))
    return json.loads(load.get(port, "/inside")[1])


def test_own_pid_1_and_no_processes_of_the_host(inside):
    assert inside["pid"] in (1, 2)
    assert set(inside["processes"]) <= {1, 2}


def test_root_is_read_only_and_tmp_is_not(inside):
    assert inside["write_root"] == "EROFS"
    assert inside["write_tmp"] == "yes"
    assert inside["write_sysctl"] != "yes"


def test_no_descriptors_but_its_own(inside):
    """0, 1, 2; then hello's own signal, epoll and listening descriptors, its connection and the directory it reads."""
    assert sorted(inside["descriptors"]) == list(range(len(inside["descriptors"])))
    assert len(inside["descriptors"]) <= 8


def test_confined(inside):
    assert inside["seccomp_mode"] == "2" and inside["no_new_privs"] == "1"
    for kind in ("cap_effective", "cap_bounding"):
        assert int(inside[kind], 16) & ~DOCKER_CAPABILITIES == 0


def test_uid_0_is_not_uid_0_outside(agent, inside):
    assert inside["uid"] == 0
    [replica] = agent.replicas()
    outside = pathlib.Path(f"/proc/{replica['pid']}").stat().st_uid
    mapping = pathlib.Path(f"/proc/{replica['pid']}/uid_map").read_text().split()
    assert mapping[:2] != ["0", "0"], "root inside is root outside"
    assert outside != 0


def test_namespaces_of_its_own(agent, inside):
    pid = agent.replicas()[0]["pid"]
    for kind in ("pid", "mnt", "net", "ipc", "uts", "user", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind


def test_sees_no_mounts_of_the_host(agent, inside):
    pid = agent.replicas()[0]["pid"]
    points = {line.split()[4] for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}
    assert not [p for p in points if p.split("/")[1] in ("work", "home", "var", "old", ".old")], points


def test_user_of_the_spec(agent, port):
    agent.teal("apply", agent.spec(port=port, user="app"))
    inside = json.loads(load.get(port, "/inside")[1])
    assert (inside["uid"], inside["gid"]) == (1000, 1000)
    assert int(inside["cap_effective"], 16) == 0


def test_writable_root_is_thrown_away(agent, port):
    agent.teal("apply", agent.spec(port=port, read_only=False))
    assert json.loads(load.get(port, "/inside")[1])["write_root"] == "yes"


def test_environment_is_the_specs_and_nothing_of_the_agents(agent, port):
    agent.teal("apply", agent.spec(port=port, env={"A": "1 2=3"}))
    lines = load.get(port, "/env")[1].splitlines()
    assert "A=1 2=3" in lines and "VERSION=1" in lines and "TEAL_GENERATION=1" in lines
    assert not [line for line in lines if line.startswith(("ASAN_OPTIONS", "TEAL_BUILD", "PYTEST"))]


def test_limits_are_set(agent, port):
    limits = {"resources": {"limits": {"memory": "16M", "pids": 10}}}
    agent.teal("apply", agent.spec(port=port, deploy=limits))
    groups = [pathlib.Path(g) for g in agent.on_host()["cgroups"]]
    found = lambda *names: {p.read_text().strip() for g in groups for n in names if (p := g / n).exists()}
    assert str(16 * 1024 * 1024) in found("memory.max", "memory.limit_in_bytes")
    assert found("pids.max") & {"10", "11"}  # the container's init may come on top


@pytest.mark.parametrize("network", ["host", "none"])
def test_other_networks(agent, port, network):
    if network == "none":
        agent.teal("apply", agent.spec(network="none", ports=None, healthcheck=None))
        assert agent.replicas()[0]["state"] == "running"
        return
    agent.teal("apply", agent.spec(port=port, network="host", deploy={"replicas": 2}))
    agent.teal("apply", agent.spec(port=port, network="host", version="2", deploy={"replicas": 2}))
    assert load.generation(port) == 2


def test_generations_reach_the_outside_but_have_addresses_of_their_own(agent, port):
    agent.teal("apply", agent.spec(port=port, deploy={"replicas": 2}))
    addresses = {r["address"] for r in agent.replicas()}
    assert len(addresses) == 2


def test_stop_is_forced_after_the_grace_period(agent, port):
    agent.teal("apply", agent.spec(port=port, env={"IGNORE_TERM": "1"}, stop_grace_period="300ms", deploy={"standby": "0s"}))
    agent.teal("apply", agent.spec(port=port, version="2", deploy={"standby": "0s"}))
    wait_for(lambda: list(agent.generations()) == [2], 20, "generation 1 is gone")
