"""Bundles for teal-shim itself, as the agent writes them, with changes that no agent would make."""
import copy
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from agent import BUILD
from wait import wait_for

SHIM = BUILD / "teal-shim"


def snapshot(top):
    """What there is below a directory: names, kinds, owners, modes, contents."""
    found = {}
    for path in [top, *sorted(top.rglob("*"))]:
        st = path.lstat()
        is_file = path.is_file() and not path.is_symlink()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else os.readlink(path) if path.is_symlink() else ""
        found[str(path)] = (oct(st.st_mode), st.st_uid, st.st_gid, content)
    return found


def remove(path):
    """The shim that made it may still be writing its record there."""
    shutil.rmtree(path, ignore_errors=True)
    return not os.path.exists(path)


class Workshop:
    """A directory with an outside that must stay as it is, and bundles beside it."""

    def __init__(self):
        made = subprocess.run([BUILD / "bench/start_bundle", "none"], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
        self.model = json.loads(pathlib.Path(f"{made}/state/containers/web.1.1/config.json").read_text())
        filter_path = pathlib.Path(f"{made}/state/containers/web.1.1/seccomp.bpf")
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="teal-cve-", dir="/var/tmp"))
        os.chmod(self.top, 0o755)
        shutil.copy(filter_path, self.top)
        wait_for(lambda: remove(made), 10, "the model is removed")
        self.outside = self.top / "outside"
        (self.outside / "folder").mkdir(parents=True)
        (self.outside / "marker").write_text("untouched\n")
        (self.outside / "folder/marker").write_text("untouched\n")
        os.chmod(self.outside / "marker", 0o666)
        os.chmod(self.outside, 0o777)
        os.chmod(self.outside / "folder", 0o777)
        self.before = snapshot(self.outside)
        self.count = 0

    def bundle(self, *command):
        self.count += 1
        return Bundle(self, self.top / f"bundle-{self.count}", command)

    def untouched(self):
        return snapshot(self.outside) == self.before

    def close(self):
        shutil.rmtree(self.top)


class Bundle:
    def __init__(self, workshop, path, command):
        self.workshop, self.path = workshop, path
        self.root = path / "rootfs"
        (self.root / "bin").mkdir(parents=True)
        (self.root / "etc").mkdir()
        shutil.copy(BUILD / "tests/prober", self.root / "bin/prober")
        for name in ("hosts", "resolv.conf"):
            (path / name).write_text("")
        shutil.copy(workshop.top / "seccomp.bpf", path)
        self.config = copy.deepcopy(workshop.model)
        self.config["root"]["path"] = str(self.root)
        self.config["process"]["args"] = ["/bin/prober", *command]
        self.config["linux"]["resources"] = {}
        for key in ("teal.cgroups", "teal.log"):
            self.config["annotations"].pop(key, None)
        for mount in self.config["mounts"]:
            name = os.path.basename(mount["destination"])
            if mount["destination"] in ("/etc/hosts", "/etc/resolv.conf"):
                mount["source"] = str(path / name)

    def write(self):
        (self.path / "config.json").write_text(json.dumps(self.config))
        return self

    def command(self):
        return [SHIM, "--bundle", self.path]

    def run(self, **how):
        self.write()
        return subprocess.run(self.command(), **{"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 60, **how})

    def facts(self):
        done = self.run()
        assert done.returncode == 0, done.stderr
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    def mount(self, destination, kind="tmpfs", source="tmpfs", options=()):
        self.config["mounts"].append({"destination": destination, "type": kind, "source": str(source), "options": list(options)})
