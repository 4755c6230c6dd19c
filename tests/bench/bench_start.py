"""Container start to exit on one bundle: teal-shim, crun and runc, interleaved, medians of N runs each.

usage: bench_start.py [RUNS]   (TEAL_BUILD: where the binaries are; needs root)

The bundle is the native driver's own, full isolation, less what crun can't do on a hybrid cgroup host (cgroups, rlimits):
nobody does it then. Each runtime is started by a small helper of its own that only times, because crun needs a mount
namespace in which /sys/fs/cgroup is version 2.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("TEAL_BUILD", "build"))
CGROUP2 = ["unshare", "-m", "sh", "-c", 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"]


def serve(command):
    """Helper: a line in, one run, its milliseconds out."""
    for number, _ in enumerate(sys.stdin):
        argv = [a.replace("{n}", f"teal-bench-{os.getpid()}-{number}") for a in command]
        begin = time.perf_counter()
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        took = (time.perf_counter() - begin) * 1e3
        print(f"{took} {done.returncode} {done.stdout.decode(errors='replace')[-300:]!r}", flush=True)


class Runner:
    def __init__(self, name, command, around=()):
        self.name, self.times = name, []
        argv = [*around, sys.executable, __file__, "--serve", *command]
        self.helper = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self):
        self.helper.stdin.write("go\n")
        self.helper.stdin.flush()
        took, code, said = self.helper.stdout.readline().split(" ", 2)
        if code != "0":
            sys.exit(f"{self.name} failed ({code}): {said}")
        self.times.append(float(took))

    def end(self):
        self.helper.stdin.close()
        self.helper.wait()


def make_bundle(source, target):
    """The bundle with a root that needs no other identity to be reached, and all mount points in it."""
    with open(f"{source}/config.json", encoding="utf-8") as f:
        config = json.load(f)
    root = f"{target}/rootfs"
    shutil.copytree(config["root"]["path"], root)
    for mount in config["mounts"]:
        place = root + mount["destination"]
        if mount["destination"].startswith("/etc/"):
            open(place, "a", encoding="utf-8").close()
        elif not mount["destination"].startswith("/dev/"):
            os.makedirs(place, exist_ok=True)
    for name in ("hosts", "resolv.conf", "seccomp.bpf"):
        shutil.copy(f"{source}/{name}", target)
    for mount in config["mounts"]:
        mount["source"] = mount["source"].replace(source, target)
    config["root"]["path"] = root
    config["process"].pop("rlimits")
    config["linux"]["resources"] = {}
    config["linux"].pop("cgroupsPath")  # runc would leave its parent behind
    for key in ("teal.cgroups", "teal.log"):
        config["annotations"].pop(key, None)
    with open(f"{target}/config.json", "w", encoding="utf-8") as f:
        json.dump(config, f)
    return target


def find_runners(bundle):
    runners = [Runner("teal", [f"{BUILD}/teal-shim", "--bundle", bundle])]
    if shutil.which("crun"):
        command = ["crun", "--cgroup-manager=disabled", "run", "--bundle", bundle, "{n}"]
        runners.append(Runner("crun", command, CGROUP2))
    if shutil.which("runc"):
        runners.append(Runner("runc", ["runc", "run", "--bundle", bundle, "{n}"]))
    return runners


def main(runs):
    driver_dir = subprocess.run([f"{BUILD}/bench/start_bundle", "none"], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    target = tempfile.mkdtemp(prefix="teal-bench-start-", dir="/var/tmp")
    os.chmod(target, 0o755)
    try:
        runners = find_runners(make_bundle(f"{driver_dir}/state/containers/web.1.1", target))
        for turn in range(runs + 3):
            for runner in runners:
                time.sleep(0.05)  # the kernel takes namespaces down after the fact, under locks that a start needs too
                runner.run()
                if turn < 3:
                    runner.times.clear()  # warm now
        base = next((statistics.median(r.times) for r in runners if r.name == "crun"), None)
        print(f"container start to exit, {runs} runs each, interleaved (ms)")
        for r in runners:
            r.end()
            median, quartiles = statistics.median(r.times), statistics.quantiles(r.times, n=4)
            ratio = f"{median / base:5.2f} x crun" if base else ""
            print(f"  {r.name:6} median {median:6.2f}  quartiles {quartiles[0]:6.2f} {quartiles[2]:6.2f}  {ratio}")
    finally:
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(driver_dir, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2:])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
