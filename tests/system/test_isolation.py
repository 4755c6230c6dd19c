"""A program of ours looks at a container from inside and tries what must not work: thousands of facts, each checked.

Where the answer is a matter of the default seccomp profile, it is checked against the profile in the container's own
config.json: what is written there is what the kernel does.
"""
import dataclasses
import json
import os
import pathlib
import shutil
import stat
import tempfile

import pytest

from agent import BUILD, Agent
from syscalls import NAMES
from wait import wait_for

ENOSYS, EPERM, EACCES, ENOENT, EROFS, EINVAL, EAGAIN, ENOTTY = "E38", "E1", "E13", "E2", "E30", "E22", "E11", "E25"
NEWEST = 470
EIGHT = {0, 1, 3, 4, 5, 6, 7, 10}  # CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE
PIDS = 40


@dataclasses.dataclass
class Probe:
    facts: dict
    config: dict
    pid: int

    def below(self, prefix):
        """{rest of the key: value} of the facts whose key begins so."""
        return {key[len(prefix):]: value for key, value in self.facts.items() if key.startswith(prefix)}


def make_image(root):
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    shutil.copy(BUILD / "tests/prober", root / "bin/prober")
    shutil.copy(BUILD / "tests/prober", root / "bin/raise")
    os.chmod(root / "bin/raise", 0o6755)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n")
    return root


class Prober:
    """An agent, and containers of it in which the prober runs."""

    def __init__(self, agent):
        self.agent = agent
        self.image = make_image(agent.root / "image")
        self.count = 0

    def run(self, *sections, **keys):
        self.count += 1
        name = f"probe-{self.count}"
        limits = {"pids": PIDS, "memory": "64M"}
        spec = self.agent.spec(name, image=f"rootfs:{self.image}", healthcheck=None, environment=None,
                               **{"command": ["/bin/prober", *sections, "end", "wait"], "network": "none",
                                  "deploy": {"resources": {"limits": limits}}, **keys})
        self.agent.teal("apply", spec)
        lines = wait_for(lambda: self._lines(name), 60, "the prober has told all", every=0.1)
        facts = dict(line.split(" ", 1) for line in lines if " " in line)
        [bundle] = (self.agent.state_dir / "containers").glob(f"{name}.*")
        config = json.loads((bundle / "config.json").read_text())
        [replica] = self.agent.replicas(name)
        return Probe(facts, config, replica["pid"])

    def _lines(self, name):
        log = self.agent.state_dir / "logs" / name / "1" / "1.log"
        text = log.read_text() if log.exists() else ""
        lines = [line.split(" ", 3)[3] for line in text.splitlines() if line.count(" ") > 2]
        return lines if "end of all" in lines else None


@pytest.fixture(scope="module")
def prober(host):
    root = tempfile.mkdtemp(prefix="teal-", dir="/tmp")
    os.chmod(root, 0o755)
    agent = Agent(root)
    agent.start()
    try:
        yield Prober(agent)
        agent.finish()
    finally:
        agent.destroy()


@pytest.fixture(scope="module")
def probe(prober):
    return prober.run("calls", "rights", "paths", "sockets", "acts", "processes")


def fail_with(faults):
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


def differing(facts, wanted):
    """What is not as wanted: {key: value, or a set of values}."""
    def fits(value, want):
        return value in want if isinstance(want, (set, frozenset)) else value == want
    return [f"{key}: {facts.get(key)}, not {want}" for key, want in wanted.items() if not fits(facts.get(key), want)]


def test_so_many_facts(probe):
    assert len(probe.facts) >= 1800


def allowed_names(config):
    return {name for rule in config["linux"]["seccomp"]["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


def test_native_calls_are_those_of_the_profile(probe):
    allowed, faults = allowed_names(probe.config), []
    for number in range(NEWEST + 1):
        name, got = NAMES.get(number), probe.facts[f"call.native.{number}"]
        if name == "clone3":
            ok = got == ENOSYS
        elif name in allowed:
            ok = got != EPERM
        else:
            ok = got == EPERM
        if not ok:
            faults.append(f"{number} {name}: {got}, {'allowed' if name in allowed else 'refused'} by the profile")
    fail_with(faults)


@pytest.mark.parametrize("name", """ptrace process_vm_readv process_vm_writev kcmp bpf perf_event_open userfaultfd io_uring_setup
    io_uring_enter io_uring_register keyctl add_key request_key kexec_load kexec_file_load init_module finit_module delete_module
    mount umount2 pivot_root chroot unshare setns swapon swapoff reboot sethostname setdomainname iopl ioperm settimeofday
    clock_settime clock_adjtime name_to_handle_at open_by_handle_at fanotify_init lookup_dcookie quotactl acct syslog vhangup
    modify_ldt memfd_secret pidfd_getfd process_madvise move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr
    quotactl_fd remap_file_pages move_pages migrate_pages open_tree_attr""".split())
def test_dangerous_call_is_refused(probe, name):
    [number] = [n for n, known in NAMES.items() if known == name]
    assert probe.facts[f"call.native.{number}"] == EPERM


@pytest.mark.parametrize("door", ["x32", "i386"])
def test_other_doors_are_shut(probe, door):
    """EPERM by the filter; a kernel without that door kills who knocks, or knows no such call."""
    answers = probe.below(f"call.{door}.")
    assert len(answers) == NEWEST + 1
    fail_with([f"{door} {n}: {got}" for n, got in answers.items() if got not in (EPERM, ENOSYS) and not got.startswith("died 11")])


def test_capabilities(probe):
    wanted = {}
    for cap in range(41):
        for kind in ("effective", "permitted", "bounding"):
            wanted[f"cap.{kind}.{cap}"] = "1" if cap in EIGHT else "0"
        for kind in ("inheritable", "ambient"):
            wanted[f"cap.{kind}.{cap}"] = "0"
    assert len(wanted) == 205
    fail_with(differing(probe.facts, wanted))


def test_namespaces_are_not_the_hosts(probe):
    for name, inside in probe.below("ns.").items():
        if inside == "absent":
            continue
        host = os.readlink(f"/proc/self/ns/{name}")
        assert inside != host, name
    assert probe.facts["ns.pid"] == probe.facts["ns.pid_for_children"]
    assert probe.facts["ns.time"] == probe.facts["ns.time_for_children"]


def test_identity_and_place(probe):
    fail_with(differing(probe.facts, {
        "status.NoNewPrivs": "1", "status.Seccomp": "2", "status.NSpid": "2", "status.Groups": "", "cwd": "/",
        "root.is_top": "yes", "session.own": "yes", "terminal": "no", "init": "teal-init", "fds": "0,1,2",
        "oom_score_adj": "0"}))
    for kind in ("uid_map", "gid_map"):
        inside, outside, size = map(int, probe.facts[kind].split())
        assert inside == 0 and outside >= 65536 and size == 65536


def test_the_shim_runs_from_a_sealed_copy(probe):
    shim = pathlib.Path(f"/proc/{probe.pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert os.readlink(f"/proc/{shim}/exe").startswith("/memfd:teal-shim")
    assert pathlib.Path(f"/proc/{shim}/comm").read_text() == "teal-shim\n"


def test_descriptors_lead_nowhere_on_the_host(probe):
    assert probe.facts["fd.0"] == "/dev/null"
    assert probe.facts["fd.1"].startswith("pipe:") and probe.facts["fd.2"].startswith("pipe:")


MASKED_FILES = ["/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/timer_list",
                "/proc/timer_stats"]
MASKED_FOLDERS = ["/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"]


@pytest.mark.parametrize("path", MASKED_FILES + MASKED_FOLDERS)
def test_masked(probe, path):
    assert probe.facts[f"read.{path}"] in ("empty", ENOENT)
    if path in MASKED_FILES:  # what is there is the null device
        assert probe.facts[f"write.{path}"] in ("ok", ENOENT)
    else:
        assert probe.facts[f"write.{path}"] in (EROFS, ENOENT, EACCES)


REFUSED_TO_WRITE = [path for path in """/proc/bus /proc/fs /proc/irq /proc/irq/default_smp_affinity /proc/sysrq-trigger
    /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/hostname /proc/sys/kernel/panic /proc/sys/kernel/sysrq
    /proc/sys/kernel/yama/ptrace_scope /proc/sys/kernel/randomize_va_space /proc/sys/vm/drop_caches /proc/sys/vm/panic_on_oom
    /proc/sys/vm/overcommit_memory /proc/sys/fs/file-max /proc/sys/fs/suid_dumpable /proc/sys/net/ipv4/ip_forward
    /proc/sys/fs/binfmt_misc/register /proc/kmsg /proc/mtrr /proc/kpagecount /proc/kpageflags /proc/kallsyms
    /proc/sys/kernel/kexec_load_disabled /sys/kernel/uevent_helper /sys/kernel/mm/transparent_hugepage/enabled /sys/power/state
    /sys/kernel/profiling /sys/class /sys/fs/cgroup /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/release_agent /sys/kernel/debug
    /sys/kernel/security /sys/kernel/tracing /sys/fs/bpf /sys/module /sys/kernel/vmcoreinfo /proc/1/environ /proc/1/mem /proc/1/exe
    /proc/1/fd /proc/1/root /proc/1/cwd /proc/1/maps / /etc/passwd /etc/hosts /etc/resolv.conf /proc/self/exe""".split()]


@pytest.mark.parametrize("path", REFUSED_TO_WRITE)
def test_not_to_be_written(probe, path):
    # ETXTBSY is the program itself, EISDIR and EIO are other ways of saying no
    assert probe.facts[f"write.{path}"] in (EROFS, EACCES, ENOENT, EPERM, "E26", "E21", "E5", "E20")


@pytest.mark.parametrize("path", ["/proc/1/environ", "/proc/1/mem", "/proc/1/exe", "/proc/1/fd", "/proc/1/root", "/proc/1/cwd", "/proc/1/maps",
                                  "/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/sys/kernel/security", "/sys/kernel/debug"])
def test_not_to_be_read(probe, path):
    assert probe.facts[f"read.{path}"] in (EACCES, EPERM, ENOENT, "empty")


@pytest.mark.parametrize("path", """/dev/mem /dev/kmem /dev/kmsg /dev/port /dev/kvm /dev/fuse /dev/net/tun /dev/loop0 /dev/loop-control
    /dev/mapper/control /dev/sda /dev/vda /dev/nvme0 /dev/console /dev/cpu/0/msr /dev/vhost-vsock /dev/uinput /dev/rtc0 /dev/hpet
    /dev/vfio/vfio /dev/userfaultfd /dev/tty0 /dev/tty1""".split())
def test_device_is_absent(probe, path):
    assert (probe.facts[f"read.{path}"], probe.facts[f"write.{path}"]) == (ENOENT, ENOENT)


def test_devices_are_six_and_nothing_can_be_added(probe):
    assert probe.below("dev.") == {
        "null": "char 1:3", "zero": "char 1:5", "full": "char 1:7", "random": "char 1:8", "urandom": "char 1:9", "tty": "char 5:0",
        "fd": "link 0:0", "stdin": "link 0:0", "stdout": "link 0:0", "stderr": "link 0:0", "ptmx": "link 0:0", "pts": "other 0:0",
        "shm": "other 0:0", "mqueue": "other 0:0"}
    nodes = probe.below("node.")
    assert len(nodes) == 512
    fail_with([f"{node}: {got}" for node, got in nodes.items() if got != EPERM])


def test_places_to_write_are_there(probe):
    fail_with(differing(probe.facts, {f"write.{path}": "ok" for path in
                                      ("/tmp", "/run", "/dev/shm", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/ptmx")}))


def test_address_families(probe):
    """UNIX, INET, INET6 and NETLINK are let through to the kernel; the rest is refused before it. Raw ones need more."""
    for family in range(46):
        for kind in ("stream", "dgram", "raw"):
            got = probe.facts[f"socket.{family}.{kind}"]
            if family in (1, 2, 10, 16) and kind != "raw":
                assert got in ("ok", "E94"), (family, kind, got)  # a type that the family lacks
            elif family in (2, 10):
                assert got in (EPERM, "E93"), (family, kind, got)
            elif family not in (1, 16):
                assert got == EPERM, (family, kind, got)


HARMLESS = {"chown.inside", "port.low", "fifo", "memory.executable"}


def test_acts_of_an_attacker(probe):
    acts = probe.below("act.")
    assert len(acts) >= 55
    faults = [f"{act}: {acts[act]}" for act in HARMLESS if acts[act] != "ok"]
    wanted = {"chown.outside": {EINVAL}, "setuid.outside": {EINVAL}, "clone3.user": {ENOSYS}, "kill.init": {"ok", EPERM},
              "terminal.push": {ENOTTY}, "terminal.take": {ENOTTY}, "no_new_privs.off": {EINVAL}}
    for act, got in acts.items():
        if act not in HARMLESS and got not in wanted.get(act, {EPERM, EACCES}):
            faults.append(f"{act}: {got}")
    fail_with(faults)


def test_fork_bomb_meets_the_limit(probe):
    count, error = probe.facts["processes"].split()
    assert error == EAGAIN and 0 < int(count) < PIDS


def test_a_user_of_its_own_can_not_become_root(prober):
    """The set-user-id bit of /bin/raise is without effect: the root file system is nosuid, and no_new_privs is set."""
    user = prober.run("rights", "ids", user="app")
    assert user.facts["ids"] == "1000 1000"
    raised = prober.run("ids", user="app", command=["/bin/raise", "ids", "end", "wait"])
    assert raised.facts["ids"] == "1000 1000"
    assert {value for key, value in user.facts.items() if key.startswith(("cap.effective", "cap.permitted"))} == {"0"}


def test_memory_limit_kills(prober):
    spec = prober.agent.spec("eater", image=f"rootfs:{prober.image}", healthcheck=None, environment=None, network="none", restart="no",
                             command=["/bin/prober", "eat"], deploy={"resources": {"limits": {"memory": "24M"}}, "healthy_deadline": "5s"})
    prober.agent.teal("apply", spec, code=None)
    events = wait_for(lambda: [e for e in prober.agent.events("eater") if e.get("oom") or "memory" in json.dumps(e)], 20, "killed for memory")
    assert events


def test_unconfined_opens_calls_but_no_rights(prober):
    """Without a filter it is capabilities and namespaces that hold, and no_new_privs stays."""
    probe = prober.run("rights", "acts", seccomp="unconfined")
    assert "seccomp" not in probe.config["linux"]
    assert (probe.facts["status.Seccomp"], probe.facts["status.NoNewPrivs"]) == ("0", "1")
    acts = probe.below("act.")
    for act in ("mount.tmpfs", "mount.proc", "mount.bind", "umount.mask", "pivot_root", "chroot", "unshare.mnt", "setns.init", "ptrace.init",
                "memory.init", "hostname", "time.set", "module", "swap", "kexec"):
        assert acts[act] in (EPERM, EACCES, ENOSYS), (act, acts[act])


def test_capabilities_by_name(prober):
    probe = prober.run("rights", "acts", "sockets", cap_add=["NET_RAW", "CAP_SYS_CHROOT"], cap_drop=["CHOWN"])
    has = {cap for cap in range(41) if probe.facts[f"cap.effective.{cap}"] == "1"}
    assert has == EIGHT - {0} | {13, 18}
    assert (probe.facts["act.chroot"], probe.facts["socket.17.raw"], probe.facts["act.chown.inside"]) == ("ok", "ok", EPERM)
    nothing = prober.run("rights", cap_drop=["ALL"])
    assert {value for key, value in nothing.facts.items() if key.startswith("cap.")} == {"0"}


def test_own_profile(prober):
    profile = prober.agent.root / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkfifo", "mknod", "mknodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71}]}))
    refused = prober.agent.teal("apply", prober.agent.spec("bad", image=f"rootfs:{prober.image}", healthcheck=None, seccomp=str(profile)), code=None)
    assert refused.code != 0 and 'system call "mkfifo"' in refused.said.replace('\\"', '"')
    profile.write_text(profile.read_text().replace('"mkfifo", ', ""))
    assert prober.run("acts", seccomp=str(profile)).facts["act.fifo"] == "E71"
