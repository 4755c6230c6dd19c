"""An image that can be asked anything: busybox and nothing else."""
import json
import os
import pathlib
import shutil

from agent import BUILD
from wait import wait_for

BUSYBOX = pathlib.Path("/bin/busybox")
APPLETS = ("sh", "cat", "echo", "id", "cut", "tail", "ls", "ln", "mkdir", "mount", "nc", "httpd", "printf", "sleep", "stat", "touch", "wc", "ip",
           "hostname", "ping", "dd", "df", "sed", "grep", "true", "false", "tr", "ps", "env", "kill", "rm", "seq", "yes", "head")


def rootfs():
    root = BUILD / "tests" / "box"
    if not (root / "done").exists():
        shutil.rmtree(root, ignore_errors=True)
        for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "www"):
            (root / name).mkdir(parents=True)
        shutil.copy(BUSYBOX, root / "bin" / "busybox")
        for name in APPLETS:
            os.symlink("busybox", root / "bin" / name)
        (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\napp:x:1000:\n")
        (root / "done").touch()
    return root


def spec(agent, port=None, script="", name="hello", **keys):
    """A service that runs the script, says "over", and then serves its /tmp by HTTP on port 8080."""
    serve = "echo over; exec httpd -f -p 8080 -h /tmp"
    healthcheck = {"tcp": 8080, "interval": "200ms"} if port else None
    keys = {"image": f"rootfs:{rootfs()}", "healthcheck": healthcheck, **keys}
    return agent.spec(name=name, port=port, command=["/bin/sh", "-c", f"{script}\n{serve}"], **keys)


def said(agent, port=None, script="", name="hello", **keys):
    """What the script writes, in lines; the service goes on."""
    agent.teal("apply", spec(agent, port, script, name, **keys))

    def lines():
        raw = agent.api("GET", f"/v1/services/{name}/logs?generation={agent.status(name)['active']}", read=bytes.splitlines)
        texts = [json.loads(line)["line"] for line in raw]
        return texts if "over" in texts else None

    return wait_for(lines, 10, "the script is over")[:-1]
