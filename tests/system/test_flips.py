"""No connection is lost by a flip."""
import pytest

import load
from wait import wait_for

FLIPS = 50


def flip_back_and_forth(agent, port, flips):
    """Alternates between two versions; each apply finds the other one in standby or starts it anew."""
    for n in range(flips):
        agent.teal("apply", "--force", agent.spec(port=port, version=str(n % 2)))


def test_50_flips_under_new_connections(agent, port):
    agent.teal("apply", agent.spec(port=port, version="1"))
    clients = load.Wrk(port, seconds=300)
    flip_back_and_forth(agent, port, FLIPS)
    clients.stop().check(at_least=FLIPS)
    print(f"{FLIPS} flips, {clients.requests} connections, none failed")


@pytest.mark.long
def test_200_flips_under_new_connections(agent, port):
    agent.teal("apply", agent.spec(port=port, version="1"))
    clients = load.Wrk(port, seconds=1800)
    flip_back_and_forth(agent, port, 200)
    clients.stop().check(at_least=200)


@pytest.mark.sanitized
def test_rollbacks_under_new_connections(agent, port):
    """To and fro between two generations that both run."""
    agent.teal("apply", agent.spec(port=port, version="1"))
    agent.teal("apply", agent.spec(port=port, version="2"))
    with load.OneShot(port) as clients:
        for n in range(6):
            agent.teal("rollback", "hello", "--to", str(1 + n % 2))
    clients.check(at_least=10)
    assert clients.generations == {1, 2}


def test_flip_to_standby_takes_no_more_than_3_ms(agent, port):
    """From the request to the last worker's word; the median, since the machine has other things to do as well."""
    agent.teal("apply", agent.spec(port=port, version="1"))
    agent.teal("apply", agent.spec(port=port, version="2"))
    results = [agent.teal("rollback", "hello", "--to", str(1 + n % 2)).json for n in range(15)]
    took = sorted(r["flip_us"] for r in results)
    print(f"flips to standby: median {took[7]} us, longest {took[-1]} us")
    assert {r["result"] for r in results} == {"rolled_back"}
    assert took[7] <= 3000


@pytest.mark.sanitized
def test_busy_kept_connection_loses_nothing(agent, port):
    """It stays on the old generation until it ends by itself; new ones go to the new generation meanwhile."""
    slow_drain = {"drain_timeout": "20s"}
    agent.teal("apply", agent.spec(port=port, deploy=slow_drain))
    with load.Kept(port, threads=1) as kept:
        agent.teal("apply", "--detach", agent.spec(port=port, version="2", deploy=slow_drain))
        wait_for(lambda: load.generation(port) == 2, 20, "new connections reach generation 2")
        asked = kept.requests
        wait_for(lambda: kept.requests > asked + 50, 10, "the kept connection goes on")
    kept.check()
    assert kept.generations == {1}
    result = agent.teal("wait", "hello").json
    assert result["result"] == "deployed" and result["drain"]["cut"] == 0


def test_drain_has_a_hard_limit(agent, port):
    """A connection that never ends is cut when the drain is over, and counted."""
    agent.teal("apply", agent.spec(port=port, deploy={"drain_timeout": "1s"}))
    with load.OneShot(port, threads=1), load.Kept(port, threads=1) as kept:
        result = agent.teal("apply", agent.spec(port=port, version="2", deploy={"drain_timeout": "1s"})).json
        wait_for(lambda: kept.failures, 10, "the kept connection is cut")
    assert result["drain"]["cut"] == 1


def test_slow_answer_survives_the_flip(agent, port):
    agent.teal("apply", agent.spec(port=port, env={"SLOW": "700"}, healthcheck={"http": {"path": "/healthz"}, "timeout": "3s"}))
    with load.OneShot(port, threads=8) as clients:
        agent.teal("apply", agent.spec(port=port, version="2"))
    clients.check(at_least=8)


def test_streams_and_uploads_pass_unchanged(agent, port):
    import hashlib
    import json
    import socket
    import zlib

    agent.teal("apply", agent.spec(port=port))
    size = 20_000_000
    expected = (b"abcdefghijklmnopqrstuvwxyz\n" * (size // 27 + 1))[:size]
    body = load.get(port, f"/bytes?n={size}", timeout=30)[1].encode()
    assert hashlib.sha256(body).digest() == hashlib.sha256(expected).digest()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
        sock.sendall(expected)
        answer = json.loads(load.read_answer(sock)[1])
    assert answer == {"length": size, "crc32": zlib.crc32(expected)}
