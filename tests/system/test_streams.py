"""Long answers arrive whole, however slow the reader is; and the agent keeps little of them in memory."""
import pathlib
import signal
import subprocess

import pytest

from agent import BUILD, SANITIZED

pytestmark = pytest.mark.sanitized

LINES = 60_000


def _long_log(agent, port):
    """Gives the running replica a past: as many lines as its log may hold."""
    agent.teal("apply", agent.spec(port=port, logging={"max_size": "100M", "max_files": 2}))
    log = next(pathlib.Path(agent.state_dir, "logs").rglob("1.log"))
    stamp = log.read_text().split(" ", 1)[0]
    with open(log, "a") as file:
        file.writelines(f"{stamp} stdout F line {n} {'x' * 100}\n" for n in range(LINES))


def _memory_kb(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def test_logs_reach_a_slow_reader(agent, port):
    _long_log(agent, port)
    before = _memory_kb(agent.pid)
    with subprocess.Popen([BUILD / "teal", "--root", agent.root, "logs", "hello"], stdout=subprocess.PIPE,
                          env=agent.environment) as reader:
        first = reader.stdout.readline()
        reader.send_signal(signal.SIGSTOP)  # as good as a pager whose user reads
        for _ in range(100):
            assert agent.answers()
        reader.send_signal(signal.SIGCONT)
        lines = [first, *reader.stdout]
    assert reader.returncode == 0
    numbers = [int(line.split()[-2]) for line in lines if b" xxxx" in line]
    assert numbers == list(range(LINES))
    if not SANITIZED:  # a sanitizer keeps what was freed in quarantine
        assert _memory_kb(agent.pid) - before < 20_000


def test_logs_of_a_reader_that_leaves(agent, port):
    _long_log(agent, port)
    descriptors = agent.descriptors()
    for _ in range(3):
        with subprocess.Popen([BUILD / "teal", "--root", agent.root, "logs", "hello", "-f", "-n", str(LINES)],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=agent.environment) as reader:
            reader.stdout.readline()
            reader.kill()
    assert agent.answers()
    agent.teal("apply", agent.spec(port=port, version="2"))
    assert agent.descriptors() < descriptors + 20
