"""What a container gets of its host by the spec: volumes, secrets, names, limits; seen from inside."""
import os
import pathlib
import stat

import pytest

import box

pytestmark = pytest.mark.sanitized


def test_named_volume_outlives_generations(agent):
    volumes = {"volumes": ["uploads:/data"], "user": "app"}
    assert box.said(agent, script="echo first >/data/x; stat -c %u /data", **volumes) == ["1000"]
    agent.teal("rm", "hello")
    assert box.said(agent, script="cat /data/x", **volumes) == ["first"]
    on_host = agent.state_dir / "volumes" / "uploads" / "x"
    assert on_host.stat().st_uid == 1000, "the file has the id of the container's user on the host too"


def test_bound_directory_keeps_its_owners(agent, tmp_path):
    os.chmod(tmp_path, 0o755)
    (tmp_path / "mine").write_text("root's\n")
    (tmp_path / "theirs").touch()
    os.chown(tmp_path / "theirs", 1000, 1000)
    script = "stat -c %u /x/mine /x/theirs; cat /x/mine; (echo no >/x/new) 2>/dev/null || echo read-only; echo >/y/new; id -u"
    volumes = [f"{tmp_path}:/x:ro", {"source": str(tmp_path), "target": "/y"}]
    assert box.said(agent, script=script, volumes=volumes) == ["0", "1000", "root's", "read-only", "0"]
    assert (tmp_path / "new").stat().st_uid == 0


def test_tmpfs_has_its_size(agent):
    volumes = [{"type": "tmpfs", "target": "/cache", "size": "1M"}]
    script = "dd if=/dev/zero of=/cache/x bs=1k count=2000 2>/dev/null; stat -c %s /cache/x"
    assert box.said(agent, script=script, volumes=volumes) == [str(1024 * 1024)]


@pytest.mark.parametrize("what", ["/", "{root}", "{root}/run", "{root}/run/teal.sock", "{root}/state/volumes", "/proc/sys", "/nowhere"])
def test_sources_that_are_refused(agent, what):
    (agent.state_dir / "volumes").mkdir(exist_ok=True)
    source = what.format(root=agent.root)
    tried = agent.teal("apply", box.spec(agent, volumes=[f"{source}:/x"]), code=None)
    assert tried.code not in (0, 3) and source.rstrip("/") in tried.said, tried.said
    assert not agent.api("GET", "/v1/services")["services"]


def test_symlink_to_the_socket_is_refused(agent, tmp_path):
    (tmp_path / "innocent").symlink_to(agent.root / "run")
    tried = agent.teal("apply", box.spec(agent, volumes=[f"{tmp_path}/innocent:/x"]), code=None)
    assert tried.code not in (0, 3) and "teald's own" in tried.said, tried.said


def test_exclusive_volume_stops_first(agent, port):
    volumes = [{"source": "db", "target": "/db", "access": "exclusive"}]
    # The second one to start would find the first one's lock.
    script = "mkdir /db/lock || echo taken; trap 'rm -r /db/lock; exit' TERM; (httpd -f -p 8080 -h /tmp) & wait"
    plan = box.spec(agent, port, script, volumes=volumes)
    agent.teal("apply", plan)
    again = box.spec(agent, port, script, volumes=volumes, env={"A": "2"})
    assert agent.teal("plan", again, code=2).json["order"] == "stop-first"
    agent.teal("apply", again)
    lines = agent.api("GET", "/v1/services/hello/logs?generation=2", read=bytes.splitlines)
    assert not [line for line in lines if b"taken" in line]


@pytest.fixture
def secret(agent):
    path = agent.specs / "db"
    path.write_text("hunter2")
    path.chmod(0o600)
    return path


def secrets_of(agent):
    folder = agent.state_dir / "secrets" / "hello"
    return sorted(folder.iterdir()) if folder.exists() else []


READ = "cat /run/secrets/db; echo; stat -c '%a %u' /run/secrets/db; echo >/run/secrets/db; grep /run/secrets /proc/mounts | cut -d' ' -f1,3"


def test_secret_is_on_tmpfs_and_nowhere_else(agent, secret):
    secrets = [{"source": "db", "file": str(secret)}]
    script = "cat /run/secrets/db; echo; stat -c '%a %u' /run/secrets/db; grep -c '/run/secrets tmpfs ro,' /proc/mounts"
    assert box.said(agent, script=script, user="app", secrets=secrets) == ["hunter2", "400 1000", "1"]
    [kept] = secrets_of(agent)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and kept.read_text() == "hunter2"
    holders = [p for p in agent.root.rglob("*") if p.is_file() and p not in (kept, secret) and "logs" not in p.parts
               and b"hunter2" in p.read_bytes()]
    assert not holders, holders
    hexed = b"hunter2".hex().encode()
    assert not [p for p in agent.root.rglob("*") if p.is_file() and hexed in p.read_bytes()]
    for shown in (agent.teal("status", "hello"), agent.teal("describe", "hello"), agent.teal("history", "hello"), agent.teal("events")):
        assert "hunter2" not in shown.said and hexed.decode() not in shown.said
    for pid in agent.processes():
        try:
            assert b"hunter2" not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() + pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue


def test_changed_secret_is_a_new_generation_and_rollback_restores_it(agent, secret):
    keys = {"secrets": [{"source": "db", "file": str(secret)}], "deploy": {"standby": "0s"}}
    script = "cat /run/secrets/db; echo"
    assert box.said(agent, script=script, **keys) == ["hunter2"]
    assert agent.teal("apply", agent.specs / "hello.yaml").json["changed"] is False
    secret.write_text("hunter3")
    plan = agent.teal("plan", agent.specs / "hello.yaml", code=2)
    assert "hunter" not in plan.said
    assert box.said(agent, script=script, **keys) == ["hunter3"]
    secret.unlink()
    agent.kill()
    agent.start()
    agent.teal("rollback", "hello")
    active = agent.status()["active"]
    lines = agent.api("GET", f"/v1/services/hello/logs?generation={active}", read=bytes.splitlines)
    assert any(b"hunter2" in line for line in lines)
    agent.teal("rm", "hello")
    assert not secrets_of(agent)


def test_secret_whose_value_nobody_sent(agent, secret):
    spec = agent.teal("validate", box.spec(agent, secrets=[{"source": "db", "file": str(secret)}])).json
    spec = (spec.get("files") or [spec])[0].get("spec", spec) if isinstance(spec, dict) else spec[0]["spec"]
    answer = agent.api("POST", "/v1/services/hello/apply", {"spec": spec})
    assert "its value was not sent" in answer["error"]["message"]
    answer = agent.api("POST", "/v1/services/hello/apply",
                       {"spec": spec, "secrets": {spec["secrets"][0]["digest"]: "00"}})
    assert "does not have its digest" in answer["error"]["message"]
    assert not agent.api("GET", "/v1/services")["services"] and not secrets_of(agent)


def test_names(agent):
    agent.teal("apply", box.spec(agent, name="other"))
    keys = {"hostname": "shop", "dns": ["192.0.2.53"], "extra_hosts": {"db": "192.0.2.7", "me": "host-gateway"}}
    script = "hostname; grep nameserver /etc/resolv.conf; grep -E '(db|me|shop|other)$' /etc/hosts"
    lines = box.said(agent, script=script, **keys)
    [replica] = agent.replicas()
    gateway = replica["address"].rpartition(".")[0] + ".1"
    assert lines == ["shop", "nameserver 192.0.2.53", f"{replica['address']}\tshop", "192.0.2.7\tdb", f"{gateway}\tme",
                     f"{gateway}\tother"]


# By hand: a static C library looks names up by its dynamic sister, which is not in the image.
LOOK_UP = "address=$(grep -w web /etc/hosts | cut -f1); "


def test_services_call_each_other_by_name_through_flips(agent, new_port):
    port = new_port()
    box.said(agent, name="caller", script="true")  # before there is a service to call
    agent.teal("apply", agent.spec(name="web", ports=[f"0.0.0.0:{port}:8080"]))
    lines = box.said(agent, name="asker", script=LOOK_UP + f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 $address {port}")
    assert "hello from generation 1" in lines
    pid = agent.replicas("caller")[0]["pid"]
    assert "\tweb\n" in pathlib.Path(f"/proc/{pid}/root/etc/hosts").read_text(), "the one that ran before learns the name"
    agent.teal("rm", "web")
    assert "\tweb\n" not in pathlib.Path(f"/proc/{pid}/root/etc/hosts").read_text()


def test_limits_and_parameters(agent):
    keys = {"ulimits": {"nofile": {"soft": 100, "hard": 200}, "core": 0}, "sysctls": {"net.ipv4.ip_default_ttl": "42"},
            "shm_size": "1M", "oom_score_adj": 500, "devices": ["/dev/net/tun"] if os.path.exists("/dev/net/tun") else []}
    script = ("ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/sys/net/ipv4/ip_default_ttl; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2;"
              "cat /proc/self/oom_score_adj; ls /dev/net 2>/dev/null")
    lines = box.said(agent, script=script, **keys)
    assert lines == ["100", "200", "0", "42", "1024", "500"] + (["tun"] if keys["devices"] else [])


def test_more_than_this_host_can_is_refused(agent):
    tried = agent.teal("apply", box.spec(agent, devices=["/dev/nothing"]), code=None)
    assert tried.code not in (0, 3) and "/dev/nothing" in tried.said


def test_reservations(agent):
    agent.teal("apply", box.spec(agent, deploy={"resources": {"reservations": {"cpus": "0.5", "memory": "64M"}}}))
    groups = [pathlib.Path(g) for g in agent.on_host()["cgroups"]]
    found = {name: (g / name).read_text().strip() for g in groups for name in
             ("cpu.shares", "cpu.weight", "memory.low", "memory.soft_limit_in_bytes") if "hello" in g.name and (g / name).exists()}
    assert found.get("cpu.shares") == "512" or found.get("cpu.weight") == "50", found
    assert str(64 << 20) in (found.get("memory.low"), found.get("memory.soft_limit_in_bytes")), found
