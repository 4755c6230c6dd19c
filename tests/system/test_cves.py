"""Tests shaped like what went wrong in other runtimes: an image, a path or a race that once led out of a container.

Each works with a directory outside of all containers, which must be the same afterwards, whatever else happens.
"""
import ctypes
import hashlib
import json
import os
import pathlib
import pty
import shutil
import socket
import subprocess
import threading

import pytest

from agent import BUILD, Agent
from bundles import SHIM, Workshop, snapshot
from wait import wait_for

RACES = 500


@pytest.fixture
def workshop(host):
    workshop = Workshop()
    hash_before = hashlib.sha256(SHIM.read_bytes()).digest()
    mounts_before = pathlib.Path("/proc/self/mountinfo").read_text().count("\n")
    try:
        yield workshop
        assert workshop.untouched(), "something outside of the container has changed"
        assert hashlib.sha256(SHIM.read_bytes()).digest() == hash_before, "the shim's program has changed"
        assert pathlib.Path("/proc/self/mountinfo").read_text().count("\n") == mounts_before, "a mount shows on the host"
    finally:
        workshop.close()


def refused(done, *says):
    assert done.returncode != 0, f"it ran:\n{done.stdout}"
    assert not says or any(text in done.stderr for text in says), done.stderr


# Images. CVE-2026-41579, CVE-2026-47766: /dev is a symlink; CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc is;
# CVE-2018-15664, CVE-2024-45310: a folder on the way to a mount point is.

LINKS = ["dev", "proc", "sys", "tmp", "run", "etc", "dev/null", "dev/pts", "dev/shm", "etc/hosts", "etc/resolv.conf", "sys/firmware"]


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("to", ["absolute", "relative", "into", "loop"])
@pytest.mark.parametrize("name", LINKS)
def test_symlink_in_the_image(workshop, name, to, read_only):
    """Refused, or the container runs with a file system of its own there; outside nothing is made, masked or mounted."""
    bundle = workshop.bundle("rights", "paths")
    bundle.config["root"]["readonly"] = read_only
    link = bundle.root / name
    if link.is_dir():
        shutil.rmtree(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    deep = "../" * 20
    link.symlink_to({"absolute": workshop.outside, "relative": f"{deep}{workshop.outside}", "into": workshop.outside / "folder", "loop": name}[to])
    done = bundle.run()
    assert done.returncode == 0 or "mount" in done.stderr, done.stderr
    if done.returncode == 0 and name != "dev/null":
        assert "dev.null char 1:3\n" in done.stdout and "dev.marker" not in done.stdout


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_kernel_folder_that_is_another_of_the_image(workshop, name):
    bundle = workshop.bundle("rights")
    (bundle.root / name).symlink_to("bin")
    refused(bundle.run(), "not a directory")


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_file_in_place_of_a_kernel_folder(workshop, name):
    bundle = workshop.bundle("rights")
    (bundle.root / name).write_text("")
    refused(bundle.run(), "not a directory")


@pytest.mark.parametrize("target", ["/way/a/b", "/way/a", "/way", "/way/../way/x", "/way/folder/c"])
def test_mount_point_behind_a_symlink(workshop, target):
    """CVE-2024-45310: directories for mount points were made on the host."""
    bundle = workshop.bundle("rights")
    (bundle.root / "way").symlink_to(workshop.outside)
    bundle.mount(target)
    bundle.run()


def test_masks_take_the_hosts_null_device(workshop):
    """CVE-2025-31133: the null device that masks were made of was the image's."""
    bundle = workshop.bundle("paths")
    (bundle.root / "dev").mkdir()
    (bundle.root / "dev/null").symlink_to(workshop.outside / "marker")
    facts = bundle.facts()
    assert facts["dev.null"] == "char 1:3"
    assert facts["read./proc/keys"] in ("empty", "E2")


def test_masked_path_behind_a_symlink(workshop):
    bundle = workshop.bundle("rights")
    (bundle.root / "hide").symlink_to(workshop.outside)
    bundle.config["linux"]["maskedPaths"] += ["/hide", "/hide/marker", "/../../../hide"]
    bundle.config["linux"]["readonlyPaths"] += ["/hide", "/hide/folder"]
    bundle.run()


def test_console_is_not_the_images(workshop):
    """CVE-2025-52565: /dev/console was bound from a path that the image could replace."""
    bundle = workshop.bundle("paths")
    (bundle.root / "dev/pts").mkdir(parents=True)
    (bundle.root / "dev/pts/0").symlink_to(workshop.outside / "marker")
    (bundle.root / "dev/console").symlink_to(workshop.outside / "marker")
    facts = bundle.facts()
    assert "dev.console" not in facts and facts["write./dev/console"] == "E2"


# The kernel's own files. CVE-2019-16884, CVE-2025-52881: what was taken for procfs was something else.


@pytest.mark.parametrize("target", ["/proc", "/proc/self/attr", "/proc/sys", "/proc/..//proc", "/alias", "/alias/sys", "/sys/../proc"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_nothing_is_mounted_over_procfs(workshop, target, kind):
    bundle = workshop.bundle("rights")
    (bundle.root / "proc").mkdir()
    (bundle.root / "alias").symlink_to("/proc")
    bundle.mount(target, kind, workshop.outside if kind == "bind" else "tmpfs", ["rbind", "rw"] if kind == "bind" else [])
    refused(bundle.run(), "/proc")


@pytest.mark.parametrize("key", ["kernel.core_pattern", "kernel.modprobe", "vm.drop_caches", "net/../kernel/core_pattern", "net...kernel",
                                 "net.ipv4.ip_forward/../../../kernel/core_pattern", "", "net", "fs.file-max", "Net.ipv4.ip_forward",
                                 "net.ipv4.ip_forward=1+kernel.core_pattern"])
def test_sysctl_of_the_host(workshop, key):
    """CVE-2022-0811: a sysctl smuggled another one in."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    bundle = workshop.bundle("rights")
    bundle.config["linux"]["sysctl"] = {key: f"|{workshop.outside}/marker"}
    refused(bundle.run())
    assert pathlib.Path("/proc/sys/kernel/core_pattern").read_text() == pattern


# Descriptors. CVE-2016-9962, CVE-2024-21626: one of the runtime's own led out.


@pytest.mark.parametrize("number", range(0, 24))
def test_descriptor_as_working_directory(workshop, number):
    with open(workshop.outside / "marker") as leaked:
        folder = os.open(workshop.outside, os.O_RDONLY | os.O_DIRECTORY)
        try:
            bundle = workshop.bundle("rights")
            bundle.config["process"]["cwd"] = f"/proc/self/fd/{number}"
            refused(bundle.run(pass_fds=[folder, leaked.fileno()]), "working directory")
        finally:
            os.close(folder)


@pytest.mark.parametrize("number", range(3, 24))
def test_descriptor_as_program(workshop, number):
    folder = os.open(workshop.outside, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for program in (f"/proc/self/fd/{number}", f"/proc/self/fd/{number}/../../../bin/true", f"/proc/1/fd/{number}/marker"):
            bundle = workshop.bundle("rights")
            bundle.config["process"]["args"] = [program]
            refused(bundle.run(pass_fds=[folder]))
    finally:
        os.close(folder)


def test_inherited_descriptors_do_not_get_in(workshop):
    folders = [os.open(workshop.outside, os.O_RDONLY | os.O_DIRECTORY) for _ in range(40)]
    try:
        bundle = workshop.bundle("paths").write()
        done = bundle.run(pass_fds=folders)
        assert done.returncode == 0 and "fds 0,1,2\n" in done.stdout
    finally:
        for folder in folders:
            os.close(folder)


# The runtime's program. CVE-2019-5736: a container wrote it.


@pytest.mark.parametrize("userns", [True, False])
@pytest.mark.parametrize("program", ["/proc/self/exe", "/proc/1/exe", "/proc/self/task/1/exe", "/proc/thread-self/exe"])
def test_runtime_as_the_containers_program(workshop, program, userns):
    bundle = workshop.bundle()
    bundle.config["process"]["args"] = [program, "--bundle", "/"]
    if not userns:
        drop_user_namespace(bundle)
    refused(bundle.run())


def drop_user_namespace(bundle):
    linux = bundle.config["linux"]
    linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "user"]
    linux.pop("uidMappings")
    linux.pop("gidMappings")


def test_root_without_user_namespace_finds_nothing_to_write(workshop):
    bundle = workshop.bundle("paths")
    drop_user_namespace(bundle)
    facts = bundle.facts()
    for path in ("/proc/1/exe", "/proc/1/mem", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/kcore", "/sys/kernel/uevent_helper"):
        if path != "/proc/kcore":
            assert facts[f"write.{path}"] != "ok", path
    assert facts["read./proc/kcore"] in ("empty", "E2")


def test_shim_loads_nothing_from_an_image(workshop):
    """CVE-2019-14271: a helper loaded libraries after it had entered the container."""
    shown = subprocess.run(["readelf", "-l", "-d", SHIM], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in shown and "NEEDED" not in shown


# Terminals. CVE-2017-5226: a program pushed characters into the terminal of whoever had started it.


def test_terminal_of_the_caller(workshop):
    master, slave = pty.openpty()
    try:
        bundle = workshop.bundle("rights", "acts")
        done = bundle.run(stdin=slave, start_new_session=True, preexec_fn=lambda: __import__("fcntl").ioctl(slave, 0x540E, 0))
        facts = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
        assert facts["session.own"] == "yes"
        assert facts["act.terminal.push"] in ("E1", "E5") and facts["act.terminal.take"] == "E1"
    finally:
        os.close(master)
        os.close(slave)


# What config.json may say.


@pytest.mark.parametrize("change", [
    lambda c: c["process"]["capabilities"]["bounding"].append("CAP_EVERYTHING"),
    lambda c: c["process"]["capabilities"]["bounding"].append("sys_admin"),
    lambda c: c["process"]["capabilities"]["bounding"].append("99"),
    lambda c: c["linux"]["namespaces"].append({"type": "all"}),
    lambda c: c["linux"]["namespaces"].append({"type": "network", "path": "/proc/1/ns/net"}),
    lambda c: c["process"]["rlimits"].append({"type": "RLIMIT_ALL", "soft": 1, "hard": 1}),
    lambda c: c["mounts"].append({"destination": "relative", "type": "tmpfs", "source": "x"}),
    lambda c: c["process"].update(cwd="relative"),
    lambda c: c["process"].update(cwd="/../../../nowhere"),
    lambda c: c["process"]["user"].update(uid=4294967296),
    lambda c: c["process"]["user"].update(uid=-1),
    lambda c: c["process"]["user"].update(gid=1 << 40),
    lambda c: c["process"]["user"].update(additionalGids=[1 << 33]),
    lambda c: c["annotations"].update({"teal.address": "10.0.0.2/8", "teal.bridge": "x" * 70000, "teal.veth": "y" * 300, "teal.gateway": "z"}),
], ids=range(14))
def test_config_that_is_not_believed(workshop, change):
    """Unknown names are refused, numbers don't wrap (CVE-2024-40635), lengths don't overflow (CVE-2021-43784)."""
    bundle = workshop.bundle("rights")
    change(bundle.config)
    refused(bundle.run())


def test_hooks_are_not_run(workshop):
    bundle = workshop.bundle("rights")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo x >{workshop.outside}/marker"]}
    bundle.config["hooks"] = {kind: [hook] for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")}
    bundle.run()


# Races.


class Swapper:
    """Exchanges two names as fast as it can."""

    def __init__(self, one, two):
        self.one, self.two, self.stopped = os.fsencode(one), os.fsencode(two), False
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        exchange = ctypes.CDLL(None, use_errno=True).renameat2
        while not self.stopped:
            exchange(-100, self.one, -100, self.two, 2)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.stopped = True
        self.thread.join()


@pytest.mark.parametrize("name", ["data", "dev", "proc"])
def test_swapped_while_it_starts(workshop, name):
    """CVE-2018-15664, CVE-2021-30465, CVE-2019-19921: a directory became a symlink between a look and a mount."""
    bundle = workshop.bundle("ids")
    (bundle.root / name).mkdir(exist_ok=True)
    (bundle.root / "swap").symlink_to(workshop.outside)
    if name == "data":
        bundle.mount("/data/folder/new")
    bundle.config["root"]["readonly"] = False
    bundle.write()
    with Swapper(bundle.root / name, bundle.root / "swap"):
        for _ in range(RACES):
            subprocess.run(bundle.command(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            for leftover in ("upper", "work", "skel", "lower", "skel.at"):
                shutil.rmtree(bundle.path / leftover, ignore_errors=True)


def test_spy_on_what_is_executed_inside(workshop):
    """CVE-2016-9962: a process that comes in from outside must not be readable while it still has the host's descriptors."""
    bundle = workshop.bundle("spy")
    told, tell = os.pipe()
    status = os.pipe()
    bundle.write()
    shim = subprocess.Popen([SHIM, "--report", "--bundle", bundle.path], stdin=subprocess.DEVNULL, stdout=tell, stderr=tell,
                            preexec_fn=lambda: os.dup2(status[1], 3, inheritable=True), close_fds=False)
    os.close(tell)
    os.close(status[1])
    try:
        os.read(status[0], 4096)
        for _ in range(RACES):
            subprocess.run([SHIM, "--exec", "--bundle", bundle.path, "--", "/bin/prober", "ids"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
        subprocess.run([SHIM, "--exec", "--bundle", bundle.path, "--", "/bin/prober", "enough"], capture_output=True, timeout=60, check=True)
        with os.fdopen(told) as pipe:
            said = pipe.read()
        assert shim.wait(20) == 0
        assert "spy.done" in said and "spy.opened" not in said, said
        assert int(said.split("spy.done ")[1].split()[0]) > RACES // 4, said
    finally:
        os.close(status[0])
        shim.kill()
        shim.wait()


# Through the agent.


@pytest.fixture
def hostile(agent):
    """A function that applies an image with this /etc/passwd, as a user by name."""
    image = agent.root / "image"
    (image / "bin").mkdir(parents=True)
    (image / "etc").mkdir()
    shutil.copy(BUILD / "tests/prober", image / "bin/prober")

    def apply(user="app", **keys):
        spec = agent.spec("web", image=f"rootfs:{image}", command=["/bin/prober", "wait"], healthcheck=None, environment=None, network="none", user=user,
                          deploy={"healthy_deadline": "10s"}, **keys)
        return agent.teal("apply", spec, code=None, timeout=40)

    apply.passwd = image / "etc/passwd"
    return apply


def test_passwd_that_is_no_file(hostile, tmp_path):
    """CVE-2022-1227, CVE-2024-9676: a pipe, a device or an endless file in place of /etc/passwd held the runtime up."""
    secret = tmp_path / "passwd"
    secret.write_text("app:x:0:0::/:/bin/sh\n")

    def huge():
        with open(hostile.passwd, "w", encoding="ascii") as f:
            f.truncate(16 << 20)

    for make in (lambda: os.mkfifo(hostile.passwd), lambda: os.symlink(secret, hostile.passwd), lambda: os.symlink("/dev/zero", hostile.passwd),
                 lambda: os.mkdir(hostile.passwd), huge):
        make()
        assert hostile().code != 0
        if hostile.passwd.is_dir() and not hostile.passwd.is_symlink():
            hostile.passwd.rmdir()
        else:
            hostile.passwd.unlink()


@pytest.mark.parametrize("user", ["4294967296", "4294967295", "-1", "2147483648", "70000", "1000:4294967296", "0x0", "+0", "1000:", ":", ":0", "1000:1000:0",
                                  "99999999999999999999", "1000 "])
def test_user_that_could_wrap_to_root(hostile, user):
    """CVE-2024-40635, CVE-2026-30892: a number too big, or read another way, became uid 0."""
    hostile.passwd.write_text("app:x:1000:1000::/:/bin/sh\n")
    assert hostile(user=user).code != 0


def test_user_with_an_odd_entry(hostile):
    for line in ("app:x:4294967296:0::/:\n", "app:x:-1:-1::/:\n", "app:x::::\n", "app\n", "app:x:0x0:0::/:\n", "app:x: 0:0::/:\n", "app:x:99999999999999999999:0\n"):
        hostile.passwd.write_text(line)
        assert hostile().code != 0, line


def test_no_abstract_sockets(agent, port):
    """CVE-2020-15257: a container in the host's network spoke to the runtime through one."""
    agent.teal("apply", agent.spec(port=port, network="host"))
    names = [line.split()[-1] for line in pathlib.Path("/proc/net/unix").read_text().splitlines() if "@" in line]
    assert not [name for name in names if "teal" in name or agent.tag in name]


def test_directories_are_closed_to_others(agent, port):
    """CVE-2024-25621: users of the host could walk into the containers' directories."""
    agent.teal("apply", agent.spec(port=port))
    open_to_others = []
    for top, folders, files in os.walk(agent.state_dir):
        if top == str(agent.state_dir):
            assert os.lstat(top).st_mode & 0o077 == 0 or all(os.lstat(f"{top}/{f}").st_mode & 0o007 == 0 for f in folders + files)
            break
    for bundle in (agent.state_dir / "containers").iterdir():
        assert bundle.stat().st_mode & 0o077 == 0
        for path in bundle.iterdir():
            if path.is_file() and path.name not in ("hosts", "resolv.conf", "hostname") and path.stat().st_mode & 0o077:
                open_to_others.append(f"{path} {oct(path.stat().st_mode)}")
    assert not open_to_others
    assert os.lstat(agent.socket_path).st_mode & 0o007 == 0
