"""Private networks: the way out, what stays closed, names; on a host of the test's own."""
import json

import pytest

import box
from island import HOST, WORLD, island


@pytest.fixture
def host_alone(idle_agent):
    with island() as it:
        idle_agent.inside = it.enter
        idle_agent.start()
        yield it
        idle_agent.finish()
        assert not tables(it), "rules left behind"
        idle_agent.pid = None  # nothing is left for a start outside of the island


def tables(it):
    rows = json.loads(it.run("nft", "-j", "list", "tables"))["nftables"]
    return [row["table"]["name"] for row in rows if row.get("table", {}).get("name", "").startswith("teal-")]


ASK = f"nc -w 3 {WORLD} 7 </dev/null || echo unreachable"


def test_reaches_the_outside_with_the_hosts_address(host_alone, idle_agent):
    assert host_alone.forwarding() == "0"
    assert box.said(idle_agent, script=ASK) == [HOST]
    assert tables(host_alone) == [f"teal-{idle_agent.tag}"]
    idle_agent.teal("rm", "hello")
    assert host_alone.forwarding() == "0", "forwarding was not put back"
    assert not tables(host_alone)


def test_forwarding_that_was_on_stays_on(host_alone, idle_agent):
    host_alone.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    assert box.said(idle_agent, script=ASK) == [HOST]
    idle_agent.teal("rm", "hello")
    assert host_alone.forwarding() == "1"


def test_beside_a_filter_that_drops_what_it_forwards(host_alone, idle_agent):
    """As dockerd sets it, before the first container and while others run."""
    host_alone.run("iptables", "-P", "FORWARD", "DROP")
    before = host_alone.run("iptables", "-S")
    assert box.said(idle_agent, script=ASK) == [HOST]
    idle_agent.teal("rm", "hello")
    assert host_alone.run("iptables", "-S") == before


def test_rules_that_somebody_flushed_come_back(host_alone, idle_agent):
    box.said(idle_agent, name="first")
    host_alone.run("nft", "flush", "ruleset")
    host_alone.run("iptables", "-P", "FORWARD", "DROP")
    assert box.said(idle_agent, script=ASK) == [HOST]


def test_containers_do_not_reach_each_other(host_alone, idle_agent):
    box.said(idle_agent, name="one")
    [replica] = idle_agent.replicas("one")
    knock = "nc -w 2 {} </dev/null && echo reached || echo closed\n"
    ask = "httpd -p 8081 -h /tmp\n" + knock.format("127.0.0.1 8081") + knock.format(f"{replica['address']} 8080 2>/dev/null")
    assert box.said(idle_agent, name="two", script=ask) == ["reached", "closed"]


def test_nothing_comes_in_from_outside(host_alone, idle_agent):
    box.said(idle_agent)
    [replica] = idle_agent.replicas()
    host_alone.run("ip", "-n", host_alone.world, "route", "add", f"{replica['address']}/32", "via", HOST)
    knock = f"import socket; socket.create_connection(('{replica['address']}', 8080), 2)"
    knock = f"/usr/bin/python3 -c \"{knock}\" 2>&1 || true"
    assert host_alone.run("sh", "-c", knock) == "", "the host itself can't reach it"
    assert "timed out" in host_alone.run("nsenter", f"--net=/run/netns/{host_alone.world}", "sh", "-c", knock)
