"""Every spec in examples/ validates, and runs as it is but for where the build and the port are."""
import pathlib
import re
import shutil

import pytest

import load
from agent import BUILD, TREE

EXAMPLES = sorted((TREE / "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_example_validates_as_it_is(idle_agent, example):
    idle_agent.teal("validate", example)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_example_runs(agent, port, example):
    for other in (TREE / "examples").glob("*.env"):
        shutil.copy(other, agent.specs)
    text = example.read_text().replace("rootfs:../build/", f"rootfs:{BUILD}/")
    text, replaced = re.subn(r"(published: |- )(127\.0\.0\.1:)?\d+(?=[:\n])", rf"\g<1>127.0.0.1:{port}", text)
    assert replaced == 1
    spec = agent.specs / example.name
    spec.write_text(text)
    service = agent.teal("apply", spec).json["service"]
    assert agent.status(service)["state"] == "serving"
    if service == "echo":
        assert echoed(port, b"some bytes\n") == b"some bytes\n"
    else:
        assert load.get(port)[0] == 200
    assert agent.teal("apply", spec).json["changed"] is False


def echoed(port, data):
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(4096), b""))
