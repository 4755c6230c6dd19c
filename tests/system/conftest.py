"""Fixtures of the end-to-end tests: real binaries, real containers, real connections, nothing faked."""
import itertools
import os
import socket
import subprocess
import tempfile

import pytest

from agent import BUILD, SANITIZED, Agent

FAILED = pytest.StashKey()


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitized: also run with agent and proxy built with sanitizers")
    config.addinivalue_line("markers", "long: only in `make test-long`")


def _why_no_containers():
    """Why this host can't run the native driver at all, or None."""
    if os.geteuid() != 0:
        return "needs root: private networks and cgroups (run `make test` as root)"
    tried = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "--net", "true"], capture_output=True, text=True)
    return f"this host refuses namespaces: {tried.stderr.strip()}" if tried.returncode else None


@pytest.fixture(scope="session")
def host():
    why = _why_no_containers()
    if why:
        pytest.skip(why)


@pytest.fixture
def idle_agent(host, request):
    """An agent that was not started yet. After the test: everything it made must be gone."""
    root = tempfile.mkdtemp(prefix="teal-", dir="/tmp")  # short: the path of a unix socket has 108 bytes
    os.chmod(root, 0o755)
    agent = Agent(root)
    try:
        yield agent
        if agent.pid and not request.node.stash.get(FAILED, False):
            agent.finish()
    finally:
        agent.destroy()


@pytest.fixture
def agent(idle_agent):
    idle_agent.start()
    return idle_agent


# Below the range that outgoing connections take theirs from.
_ports = itertools.chain.from_iterable(itertools.repeat(range(20000 + os.getpid() % 80 * 100, 32000)))


@pytest.fixture
def new_port():
    """A function that gives a port nobody listens on."""

    def give():
        for port in _ports:
            with socket.socket() as probe:
                try:
                    probe.bind(("0.0.0.0", port))
                    return port
                except OSError:
                    continue

    return give


@pytest.fixture
def port(new_port):
    return new_port()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows the agent's log: it is gone a moment later."""
    report = (yield).get_result()
    if report.failed:
        item.stash[FAILED] = True
    agent = getattr(item, "funcargs", {}).get("idle_agent")
    if report.failed and agent and agent.log_path.exists():
        report.sections.append((f"agent log ({report.when})", agent.log()[-6000:]))


def pytest_report_header():
    return f"binaries: {BUILD}{' (sanitized)' if SANITIZED else ''}"
