"""The command line against an agent that does what the test says: exit codes, streams, faults, what goes where."""
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from agent import BUILD, PATIENCE_S, TREE
from fake_agent import AT, FAILURE, FakeAgent, error, result
from wait import wait_for

TEAL = BUILD / "teal"
SPEC = 'name: {name}\nimage: "rootfs:/tmp"\ncommand: ["/bin/app"]\nports: ["127.0.0.1:18080:8080"]\n'
ENVIRONMENT = {"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C.UTF-8", "TERM": "xterm",
               "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "halt_on_error=1"}

pytestmark = pytest.mark.sanitized


@pytest.fixture
def root():
    path = tempfile.mkdtemp(prefix="teal-", dir="/tmp")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def fake(root):
    agent = FakeAgent(root).start()
    yield agent
    agent.die()


@pytest.fixture
def spec(root):
    return write_spec(root, "web")


def write_spec(directory, name, text=SPEC):
    path = pathlib.Path(directory) / f"{name}.yaml"
    path.write_text(text.format(name=name))
    return path


class Ran:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        """The one object on stdout: anything else there is a fault."""
        return json.loads(self.out)

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


def begin(root, *args, **environment):
    return subprocess.Popen([TEAL, "--root", root, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env={**ENVIRONMENT, **environment})


def end(process):
    out, err = process.communicate(timeout=PATIENCE_S)
    return Ran(process.returncode, out, err)


def teal(root, *args, **environment):
    return end(begin(root, *args, **environment))


def wait_for_call(fake, method, path):
    """Blocks until the agent was asked this; returns query and body."""
    while True:
        call = fake.calls.get(timeout=PATIENCE_S)
        if call[:2] == (method, path):
            return call[2:]


def deploy_ends_with(fake, verdict):
    """The next apply of web starts deployment 17, which ends like this while it is watched."""
    def serve(handler, query, body):
        status, answer = fake.deployment(17)
        handler.send_json(status, answer)
        fake.add_step(17, "pull", text="image here")
        fake.add_step(17, "health", "run", text="0 of 1 ready")
        fake.add_step(17, "health", "fail" if verdict["exit"] else "ok", text="1 of 1 ready", took_ms=2000)
        fake.finish(17, verdict)

    fake.routes["POST", "/v1/services/web/apply"] = serve


# Usage


@pytest.mark.parametrize("args, words", [
    (["aply", "x"], "did you mean `apply`"),
    (["apply", "--detatch", "x"], "did you mean --detach?"),
    (["apply"], "apply needs FILE"),
    (["status", "a", "b"], "`b` is too much"),
    (["apply", "--timeout", "5 parsecs", "x"], "must be a duration"),
    (["logs", "web", "-n", "-3"], "must be a number from 0"),
    (["rollback", "web", "--to", "0"], "must be a number from 1"),
    (["apply", "--timeout"], "needs a value"),
    (["status", "-o", "xml"], "must be table or json"),
    (["image"], "needs a second word"),
    (["status", "--socket", "/x"], "give one of them"),
])
def test_wrong_usage_is_64(root, args, words):
    ran = teal(root, *args)
    assert ran.code == 64 and words in ran.err and ran.out == ""
    assert "teal help" in ran.err


def test_no_verb_shows_help_and_is_64(root):
    ran = teal(root)
    assert ran.code == 64 and "rollback SERVICE" in ran.err and ran.out == ""


def test_help_of_every_verb(root):
    verbs = [v for v in teal(root, "__complete", "verbs").out.splitlines()]
    assert len(verbs) >= 19
    for verb in verbs:
        asked = teal(root, "help", *verb.split())
        assert asked.code == 0 and asked.out.startswith(f"{verb}: ") and asked.err == ""
        assert teal(root, *verb.split(), "--help").out == asked.out


# No agent, no permission


def test_absent_agent_is_69_and_says_how_to_start_it(root, spec):
    for args in (["status"], ["apply", spec], ["rollback", "web"], ["doctor"], ["logs", "web"], ["events", "-f"], ["version"]):
        ran = teal(root, *args)
        assert ran.code == 69, args
        assert f"{root}/run/teal.sock" in ran.err and f"teald --root {root}" in ran.err


def test_absent_agent_with_json_is_an_object_too(root, spec):
    ran = teal(root, "-o", "json", "apply", spec)
    assert ran.code == ran.json["exit"] == 69
    assert ran.json["changed"] is False and ran.json["service"] == "web" and ran.json["error"]["code"] == "unreachable"


def test_socket_nobody_listens_on_is_69(root, fake):
    fake.die()
    assert teal(root, "status").code == 69


def test_completion_without_an_agent_is_silent(root):
    ran = teal(root, "__complete", "services")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_not_permitted_is_77(root, fake):
    os.chmod(root, 0o755)
    os.chmod(fake.path, 0o600)
    binary = shutil.copy(TEAL, root)  # the tree may be in a directory that others can't enter
    ran = subprocess.run([binary, "--root", root, "status"], user=65534, group=65534, extra_groups=[], capture_output=True,
                         text=True, env=ENVIRONMENT, timeout=PATIENCE_S)
    assert ran.returncode == 77 and "sudo" in ran.stderr


def test_socket_with_a_long_path(root):
    deep = os.path.join(root, *["d" * 40] * 4)
    fake = FakeAgent(root)
    fake.routes["GET", "/v1/services"] = (200, {"services": []})
    fake.start()
    os.makedirs(f"{deep}/run")
    os.rename(fake.path, f"{deep}/run/teal.sock")
    try:
        assert teal(deep, "status").out == "no services\n"
        assert teal(f"{deep}/gone", "status").code == 69
    finally:
        fake.die()


# Specs


def test_bad_spec_is_65_with_place_and_caret(root):
    path = write_spec(root, "bad", "name: web\nimage: rootfs:/tmp\nprots: []\n")
    for verb in ("validate", "apply", "plan"):
        ran = teal(root, verb, path)
        assert ran.code == 65 and f"{path}:3:1: error:" in ran.err and "^" in ran.err and ran.out == ""


def test_bad_spec_with_json_lists_the_faults(root):
    path = write_spec(root, "bad", "name: web\nimage: rootfs:/tmp\nprots: []\n")
    faults = teal(root, "-o", "json", "apply", path).json["error"]["diagnostics"]
    assert (str(path), 3, 1) in [(f["file"], f["line"], f["column"]) for f in faults]


def test_one_bad_file_of_several_changes_nothing(root, fake, spec):
    bad = write_spec(root, "bad", "name: bad\n")
    assert teal(root, "apply", spec, bad).code == 65
    assert fake.calls.empty()


def test_two_files_for_one_service(root, spec):
    again = write_spec(root, "again", SPEC.replace("{name}", "web"))
    ran = teal(root, "apply", spec, again)
    assert ran.code == 65 and "already described" in ran.err


def test_missing_file_is_1(root):
    ran = teal(root, "apply", f"{root}/gone.yaml")
    assert ran.code == 1 and "gone.yaml" in ran.err and "No such file" in ran.err


def test_validate_prints_the_canonical_form(root, spec):
    ran = teal(root, "-o", "json", "validate", spec)
    assert ran.code == 0 and ran.json["name"] == "web" and ran.json["deploy"]["replicas"] == 1 and ran.err == ""


def test_validate_annotates_for_github(root):
    path = write_spec(root, "bad", "name: web\nimage: rootfs:/tmp\nprots: []\n")
    assert f"::error file={path},line=3,col=1,title=teal::" in teal(root, "validate", path, GITHUB_ACTIONS="true").out


def test_faults_that_only_the_agent_finds(root, fake, spec):
    fake.routes["POST", "/v1/services/web/apply"] = (422, error("bad_spec", "unknown key", diagnostics=[
        {"line": 3, "column": 1, "message": "unknown key `frob`", "hint": "a newer teal knows it"}]))
    ran = teal(root, "apply", spec)
    assert ran.code == 65 and "3:1: unknown key `frob`; a newer teal knows it" in ran.err


# Plan


PLAN = {"service": "web", "action": "deploy", "changes": True, "generation": 8, "current": 7, "digest": "sha256:aa",
        "diff": {"environment.LOG_LEVEL": ["info", "debug"], "user": [None, "1000"], "labels.team": ["shop", None]},
        "starts": 2, "stops": 2, "order": "start-first", "downtime": "none", "memory_overlap_bytes": 536870912, "held": None,
        "notes": ["no healthcheck"]}


def test_plan_with_changes_is_2(root, fake, spec):
    fake.routes["POST", "/v1/plan"] = (200, PLAN)
    ran = teal(root, "plan", spec)
    assert ran.code == 2
    for line in ("~ environment.LOG_LEVEL  info → debug", "+ user  1000", "- labels.team  shop", "512M", "no healthcheck"):
        assert line in ran.out
    assert teal(root, "-o", "json", "plan", spec).json == PLAN


def test_plan_without_changes_is_0_and_on_hold_5(root, fake, spec):
    fake.routes["POST", "/v1/plan"] = (200, {**PLAN, "action": "none", "changes": False, "diff": {}, "starts": 0, "stops": 0})
    assert teal(root, "plan", spec).code == 0
    fake.routes["POST", "/v1/plan"] = (200, {**PLAN, "action": "held", "changes": False, "held": {
        "generation": 8, "since": AT, "reason": "rolled back by alice", "digest": "sha256:aa"}})
    ran = teal(root, "plan", spec)
    assert ran.code == 5 and "rolled back by alice" in ran.out


def test_dry_run_is_a_plan_in_the_words_of_apply(root, fake, spec):
    fake.routes["POST", "/v1/plan"] = (200, PLAN)
    ran = teal(root, "-o", "json", "apply", "--dry-run", spec)
    assert ran.code == ran.json["exit"] == 2 and ran.json["changed"] is True and ran.json["diff"] == PLAN["diff"]


# Apply


def test_deployed(root, fake, spec):
    deploy_ends_with(fake, result())
    ran = teal(root, "apply", spec)
    assert ran.code == 0 and ran.out == ""
    lines = ran.err.splitlines()
    assert lines[0] == "03:00:00 web: deploy 17 web.yaml: generation 6 -> 7"
    assert lines[1:3] == ["03:00:00 web: pull ok image here (3ms)", "03:00:00 web: health ok 1 of 1 ready (2s)"]
    assert "web serves generation 7 (was 6) after 2.13s; the flip took 812µs" in lines[3]
    query, body = wait_for_call(fake, "POST", "/v1/services/web/apply")
    assert body["spec"]["name"] == "web" and body["force"] is False and "@" in body["by"] and body["source"] == str(spec)


def test_deployed_with_json_is_the_result_and_nothing_else(root, fake, spec):
    deploy_ends_with(fake, result())
    ran = teal(root, "-o", "json", "apply", spec)
    assert ran.code == 0 and ran.json == result()


def test_quiet_says_nothing(root, fake, spec):
    deploy_ends_with(fake, result())
    ran = teal(root, "-q", "apply", spec)
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_unchanged_needs_no_watching(root, fake, spec):
    fake.routes["POST", "/v1/services/web/apply"] = (200, result("unchanged"))
    ran = teal(root, "-o", "json", "apply", spec)
    assert ran.code == 0 and ran.json["changed"] is False
    assert fake.calls.qsize() == 1


def test_failure_tells_the_whole_story(root, fake, spec):
    deploy_ends_with(fake, result("failed", failure=FAILURE))
    ran = teal(root, "apply", spec)
    assert ran.code == 3 and ran.out == ""
    story = ran.err[ran.err.index("Deployment failed"):]
    assert story == (
        "Deployment failed. web still serves generation 6; no traffic was moved.\n"
        "\n"
        "  why    health: generation 7 did not become healthy within deploy.healthy_deadline (1m)\n"
        '  probe  HTTP 503: {"db":"connection refused"}  (replica 1)\n'
        "  log    last 1 line of generation 7, replica 1\n"
        "         │ 03:00:00 ERROR could not connect to postgres?[2J\n"
        f"  try    teal --root {root} logs web --generation 7\n"
        f"         teal --root {root} history web\n")


def test_failure_is_told_even_when_quiet(root, fake, spec):
    deploy_ends_with(fake, result("failed", failure=FAILURE))
    assert "HTTP 503" in teal(root, "-q", "apply", spec).err


@pytest.mark.parametrize("status, answer, code", [
    (409, error("held", "this spec is on hold", generation=8, since=AT, reason="rolled back by alice"), 5),
    (409, error("busy", "a deployment is running", deployment=16), 5),
    (409, error("conflict", "127.0.0.1:18080 belongs to service other"), 1),
    (422, error("unsupported", "no cpu controller on this host"), 1),
    (403, error("forbidden", "not for you"), 77),
    (500, error("internal", "database is full"), 1),
    (502, b"<html>not teal</html>", 1),
])
def test_refusals(root, fake, spec, status, answer, code):
    fake.routes["POST", "/v1/services/web/apply"] = (status, answer)
    ran = teal(root, "-o", "json", "apply", spec)
    assert ran.code == ran.json["exit"] == code and ran.json["changed"] is False and ran.json["service"] == "web"
    if isinstance(answer, dict):
        assert ran.json["error"] == answer["error"] and answer["error"]["message"] in ran.err


def test_several_services_are_independent(root, fake, spec):
    api, job = write_spec(root, "api"), write_spec(root, "job")
    deploy_ends_with(fake, result("failed", failure=FAILURE))
    fake.routes["POST", "/v1/services/api/apply"] = (200, result("unchanged", "api"))
    fake.routes["POST", "/v1/services/job/apply"] = (409, error("held", "this spec is on hold"))
    ran = teal(root, "-o", "json", "apply", spec, api, job)
    assert ran.code == 3
    assert {o["service"]: o["exit"] for o in ran.lines} == {"web": 3, "api": 0, "job": 5}


def test_two_deployments_are_watched_together(root, fake, spec):
    other = write_spec(root, "api")
    fake.routes["POST", "/v1/services/web/apply"] = fake.deployment(17)
    fake.routes["POST", "/v1/services/api/apply"] = fake.deployment(18, "api")
    process = begin(root, "-o", "json", "apply", spec, other)
    wait_for_call(fake, "GET", "/v1/events")
    fake.finish(18, result(service="api"))
    fake.finish(17, result())
    ran = end(process)
    assert ran.code == 0 and [o["service"] for o in ran.lines] == ["api", "web"]


def test_detach(root, fake, spec):
    fake.routes["POST", "/v1/services/web/apply"] = fake.deployment(17)
    ran = teal(root, "-o", "json", "apply", "--detach", spec)
    assert ran.code == 0 and ran.json["deployment"] == 17 and ran.json["changed"] is True
    assert f"teal --root {root} wait web" in ran.err


def test_timeout_is_4(root, fake, spec):
    fake.routes["POST", "/v1/services/web/apply"] = fake.deployment(17)
    ran = teal(root, "-o", "json", "apply", "--timeout", "200ms", spec)
    assert ran.code == ran.json["exit"] == 4 and ran.json["result"] == "running" and ran.json["deployment"] == 17
    assert f"teal --root {root} wait web" in ran.err


def test_interrupt_leaves_the_deployment_alone(root, fake, spec):
    fake.routes["POST", "/v1/services/web/apply"] = fake.deployment(17)
    process = begin(root, "-o", "json", "apply", spec)
    wait_for_call(fake, "GET", "/v1/events")
    process.send_signal(signal.SIGINT)
    ran = end(process)
    assert ran.code == ran.json["exit"] == 130 and f"teal --root {root} wait web" in ran.err
    assert fake.calls.empty()


def test_image_replaces_the_one_in_the_file(root, fake, spec):
    fake.routes["POST", "/v1/services/web/apply"] = (200, result("unchanged"))
    assert teal(root, "apply", "--image", "rootfs:/usr", spec).code == 0
    query, body = wait_for_call(fake, "POST", "/v1/services/web/apply")
    assert body["spec"]["image"] == "rootfs:/usr"
    assert teal(root, "apply", "--image", "rootfs:/usr", spec, write_spec(root, "api")).code == 64


def test_directory_and_prune(root, fake):
    directory = pathlib.Path(root) / "services"
    directory.mkdir()
    write_spec(directory, "web")
    (directory / "README.md").write_text("not a spec")
    fake.routes["POST", "/v1/services/web/apply"] = (200, result("unchanged"))
    fake.routes["GET", "/v1/services"] = (200, {"services": [{"service": s} for s in ("web", "old", "elsewhere")]})
    for service, source in (("old", f"{directory}/old.yaml"), ("elsewhere", "/etc/elsewhere.yaml")):
        fake.routes["GET", f"/v1/services/{service}/history"] = (200, {"generations": [{"number": 1, "source": source}]})
    ran = teal(root, "apply", "--prune", "--dry-run", directory)
    assert "old: would be removed" in ran.out
    fake.deployment(20, "old", kind="remove", done=True, result=result("removed", "old"))
    fake.routes["DELETE", "/v1/services/old"] = (202, {"deployment": 20, "after": 0})
    ran = teal(root, "-o", "json", "apply", "--prune", directory)
    assert ran.code == 0 and {o["service"]: o["result"] for o in ran.lines} == {"web": "unchanged", "old": "removed"}
    assert teal(root, "apply", "--prune", directory / "web.yaml").code == 64


# An agent that goes away


def test_agent_dies_while_watched_and_comes_back(root, fake, spec):
    fake.routes["POST", "/v1/services/web/apply"] = fake.deployment(17)
    process = begin(root, "apply", spec)
    wait_for_call(fake, "GET", "/v1/events")
    fake.add_step(17, "pull", text="image here")
    assert "deploy 17" in process.stderr.readline() and "pull ok" in process.stderr.readline()
    fake.die()
    assert "the agent went away" in process.stderr.readline()
    fake.add_step(17, "start", text="1 replica")
    fake.come_back()
    wait_for_call(fake, "GET", "/v1/events")
    fake.finish(17, result())
    ran = end(process)
    assert ran.code == 0
    assert ran.err.count("the agent is back") == 1 and "went away" not in ran.err
    assert "start ok 1 replica" in ran.err and "pull ok" not in ran.err


def test_agent_that_stays_away_is_4_with_a_timeout(root, fake, spec):
    fake.routes["POST", "/v1/services/web/apply"] = fake.deployment(17)
    process = begin(root, "-o", "json", "apply", "--timeout", "1s", spec)
    wait_for_call(fake, "GET", "/v1/events")
    fake.die()
    ran = end(process)
    assert ran.code == ran.json["exit"] == 4 and ran.err.count("went away") == 1


def test_agent_ends_the_stream_without_a_word(root, fake, spec):
    """A clean stop closes the stream in order: that isn't the end of the deployment."""
    fake.routes["POST", "/v1/services/web/apply"] = fake.deployment(17)
    fake.routes["GET", "/v1/events"] = lambda handler, query, body: handler.begin_stream()
    process = begin(root, "apply", spec)
    wait_for_call(fake, "GET", "/v1/events")
    wait_for_call(fake, "GET", "/v1/events")
    fake.finish(17, result())
    assert end(process).code == 0


def test_agent_dies_before_it_answers_apply(root, fake, spec):
    """Nobody knows whether the order arrived: the same spec is sent again."""
    def die(handler, query, body):
        fake.routes["POST", "/v1/services/web/apply"] = (200, result("unchanged"))
        handler.connection.shutdown(2)
        handler.close_connection = True

    fake.routes["POST", "/v1/services/web/apply"] = die
    assert teal(root, "apply", spec).code == 0
    fake.routes["POST", "/v1/services/web/apply"] = die
    ran = teal(root, "apply", "--force", spec)
    assert ran.code == 69 and "lost the connection" in ran.err


def test_agent_that_forgot_the_deployment(root, fake, spec):
    fake.routes["POST", "/v1/services/web/apply"] = (202, {"deployment": 99, "after": 0})
    assert teal(root, "apply", spec).code == 1


# The other orders


def test_rollback_says_how_long_the_flip_took(root, fake):
    fake.routes["POST", "/v1/services/web/rollback"] = fake.deployment(18, kind="rollback", done=True, result=result(
        "rolled_back", generation=6, previous=7, flip_us=1240))
    ran = teal(root, "rollback", "web", "--to", "6")
    assert ran.code == 0 and "web is back on generation 6 (was 7); the flip took 1.24ms" in ran.err
    query, body = wait_for_call(fake, "POST", "/v1/services/web/rollback")
    assert body["to"] == 6 and "@" in body["by"]


def test_rollback_of_nobody(root, fake):
    ran = teal(root, "-o", "json", "rollback", "a/../b")
    assert ran.code == 1 and ran.json["error"]["code"] == "not_found"
    assert fake.calls.get()[1] == "/v1/services/a%2F%2E%2E%2Fb/rollback"


def test_abort_succeeds_when_the_deployment_does_not(root, fake):
    fake.routes["POST", "/v1/services/web/abort"] = fake.deployment(17, done=True, result=result("aborted"))
    ran = teal(root, "-o", "json", "abort", "web")
    assert ran.code == ran.json["exit"] == 0 and ran.json["result"] == "aborted"
    fake.routes["POST", "/v1/services/web/abort"] = fake.deployment(17, done=True, result=result())
    assert teal(root, "abort", "web").code == 1


def test_wait_watches_what_runs_else_gives_the_last_verdict(root, fake):
    fake.deployment(17)
    fake.routes["GET", "/v1/services/web"] = (200, {"service": "web", "deployment": fake.deployments[17], "last": None})
    process = begin(root, "wait", "web")
    wait_for_call(fake, "GET", "/v1/events")
    fake.finish(17, result("reverted", failure=FAILURE))
    assert end(process).code == 3
    fake.routes["GET", "/v1/services/web"] = (200, {"service": "web", "deployment": None, "last": fake.deployments[17]})
    assert teal(root, "wait", "web").code == 3
    fake.routes["GET", "/v1/services/web"] = (200, {"service": "web", "deployment": None, "last": None})
    assert teal(root, "wait", "web").code == 0


def test_rm_of_several(root, fake):
    fake.routes["DELETE", "/v1/services/web"] = fake.deployment(19, kind="remove", done=True, result=result("removed"))
    ran = teal(root, "rm", "-y", "web", "gone")
    assert ran.code == 1 and "web is removed" in ran.err and "/v1/services/gone" in ran.err


# What is shown


STATUS = {"service": "web", "state": "serving", "active": 7, "standby": 6, "standby_until": None,
          "held": {"digest": "sha256:bb", "generation": 8, "since": AT, "reason": "rolled back by alice"},
          "listeners": [{"name": "http", "address": "0.0.0.0:8080", "target": 3000, "protocol": "tcp", "connections": 41}],
          "generations": [{"number": 7, "slot": "green", "digest": "sha256:aa", "image": "rootfs:/srv/web", "state": "active",
                           "image_digest": "sha256:cc", "since": AT,
                           "connections": {"active": 41, "total": 90, "connect_errors": 0, "resets": 2},
                           "replicas": [{"replica": 1, "id": "web.7.1", "state": "running", "pid": 4711, "address": "10.88.0.5",
                                         "ports": [3000], "ready": True, "verdict": "ready", "restarts": 1, "started": AT,
                                         "probe": {"ok": True, "text": "HTTP 200", "at": AT, "took_us": 312}, "exit": None},
                                        {"replica": 2, "id": "web.7.2", "state": "backoff", "pid": 0, "address": None,
                                         "ports": [], "ready": False, "verdict": "unready", "restarts": 4, "started": AT,
                                         "probe": None, "exit": {"code": 0, "signal": 9, "oom": True, "at": AT}}]}],
          "deployment": None, "last": None, "labels": {"team": "shop"}}


def test_status_table(root, fake):
    fake.routes["GET", "/v1/services"] = (200, {"services": [STATUS]})
    head, row = teal(root, "status").out.splitlines()
    assert head.split() == "SERVICE STATE GEN SLOT IMAGE READY HEALTH CONNS LISTEN AGE NOTE".split()
    for word in ("web", "serving", "7", "green", "rootfs:/srv/web", "1/2", "failing", "41", ":8080", "killed by SIGKILL (OOM)"):
        assert word in row


def test_status_of_one_service_is_a_page(root, fake):
    fake.routes["GET", "/v1/services/web"] = (200, STATUS)
    page = teal(root, "status", "web").out
    for words in ("generation 7 serves, 6 stands by", "0.0.0.0:8080 → 3000", "pid 4711", "10.88.0.5", "HTTP 200 in 312µs",
                  "rolled back by alice", "team=shop", "killed by SIGKILL (OOM)", "90 in all"):
        assert words in page


def test_status_json_is_the_answer_untouched(root, fake):
    raw = b'{"service":"web",  "unknown_to_this_teal": [1, 2]}'
    fake.routes["GET", "/v1/services/web"] = (200, raw)
    assert teal(root, "-o", "json", "status", "web").out == raw.decode() + "\n"


def test_history(root, fake):
    fake.routes["GET", "/v1/services/web/history"] = (200, {"service": "web", "generations": [
        {"number": 7, "slot": "green", "image": "rootfs:/a", "state": "active", "created": AT, "by": "ci", "result": "deployed",
         "reason": None, "took_ms": 21300},
        {"number": 6, "slot": "blue", "image": "rootfs:/b", "state": "failed", "created": AT, "by": "alice",
         "result": "reverted", "reason": "health 503", "took_ms": 64002}]})
    head, new, old = teal(root, "history", "web").out.splitlines()
    assert "21.3s" in new and "deployed" in new and "1m4.002s" in old and "health 503" in old


def log_line(generation, replica, text):
    return {"at": AT, "generation": generation, "replica": replica, "stream": "stdout", "line": text}


def test_logs_say_whose_line_it_is_when_there_are_several(root, fake):
    fake.routes["GET", "/v1/services/web"] = (200, STATUS)

    def serve(handler, query, body):
        handler.begin_stream()
        handler.send_line(log_line(7, 1, "hello"))
        handler.send_line(log_line(7, 2, "there"))

    fake.routes["GET", "/v1/services/web/logs"] = serve
    assert teal(root, "logs", "web").out == "7/1 │ hello\n7/2 │ there\n"
    assert teal(root, "logs", "web", "-t", "-n", "5", "--replica", "1").out.startswith(f"{AT} hello\n")
    assert [line["line"] for line in teal(root, "logs", "web", "-o", "json").lines] == ["hello", "there"]
    queries = [wait_for_call(fake, "GET", "/v1/services/web/logs")[0] for _ in range(2)]
    assert queries == [{"follow": "0"}, {"follow": "0", "replica": "1", "tail": "5"}]


def test_logs_of_nobody(root, fake):
    assert teal(root, "logs", "nobody").code == 1


def test_events_go_on_over_a_restart(root, fake):
    fake.add_event(1, "agent.start", text="first")
    process = begin(root, "events", "-f", "-o", "json")
    assert json.loads(process.stdout.readline())["text"] == "first"
    fake.die()
    fake.come_back()
    fake.add_event(1, "agent.start", text="second")
    assert json.loads(process.stdout.readline())["text"] == "second"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGINT


def test_doctor_fails_if_any_check_does(root, fake):
    checks = [{"name": "kernel", "status": "ok", "detail": "6.1", "remedy": ""},
              {"name": "nft", "status": "warn", "detail": "not found", "remedy": "apt install nftables"}]
    fake.routes["GET", "/v1/doctor"] = (200, {"checks": checks})
    ran = teal(root, "doctor")
    assert ran.code == 0 and "WARN" in ran.out and "fix: apt install nftables" in ran.out and "1 ok, 1 to look at" in ran.out
    fake.routes["GET", "/v1/doctor"] = (200, {"checks": [*checks, {"name": "overlay", "status": "fail", "detail": "no"}]})
    assert teal(root, "doctor").code == 1
    assert teal(root, "-o", "json", "doctor").json["checks"][2]["name"] == "overlay"


def test_images(root, fake):
    fake.routes["GET", "/v1/images"] = (200, {"images": [
        {"digest": "sha256:" + "ab" * 32, "reference": "rootfs:/srv", "size": 41200000, "created_ms": 1700000000000}]})
    assert "41.2 MB" in teal(root, "image", "ls").out


def test_describe(root, fake):
    fake.routes["GET", "/v1/services/web"] = (200, STATUS)
    fake.routes["GET", "/v1/services/web/generations/7/spec"] = (200, {"name": "web", "image": "rootfs:/srv/web"})
    fake.add_event(17, "deployment.done", text="web: deployed")
    page = teal(root, "describe", "web").out
    assert '"image": "rootfs:/srv/web"' in page and "web: deployed" in page and "generation 7 serves" in page
    assert set(teal(root, "-o", "json", "describe", "web").json) == {"status", "generation", "spec", "events"}


def test_output_that_can_not_be_written_is_an_error(root, fake):
    fake.routes["GET", "/v1/services"] = (200, {"services": [STATUS]})
    with open("/dev/full", "w") as full:
        ran = subprocess.run([TEAL, "--root", root, "status"], stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert ran.returncode == 1 and "No space left" in ran.stderr


# A terminal


def run_on_terminal(root, *args, **environment):
    """Everything the terminal was sent, and the exit code."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([TEAL, "--root", root, *args], stdin=follower, stdout=follower, stderr=follower,
                               env={**ENVIRONMENT, **environment})
    os.close(follower)
    seen, until = b"", time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if not select.select([leader], [], [], 1)[0]:
            continue
        try:
            seen += os.read(leader, 65536)
        except OSError:  # EIO: the last writer is gone
            break
    os.close(leader)
    return process.wait(timeout=PATIENCE_S), seen.decode().replace("\r\n", "\n")


def test_live_view(root, fake, spec):
    deploy_ends_with(fake, result())
    code, seen = run_on_terminal(root, "apply", spec)
    assert code == 0 and "\033[32m✔\033[0m web serves generation 7 (was 6)" in seen
    assert "generation 6 → 7" in seen and "✔\033[0m health   1 of 1 ready" in seen and f"undo: teal --root {root} rollback web" in seen


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"CI": "true", "NO_COLOR": "1"}], ids=lambda e: next(iter(e)))
def test_terminals_that_want_plain_text(root, fake, spec, environment):
    deploy_ends_with(fake, result())
    code, seen = run_on_terminal(root, "apply", spec, **environment)
    assert code == 0 and "\033" not in seen and "03:00:00 web: pull ok" in seen


def test_ascii_where_the_locale_is_not_utf8(root, fake, spec):
    deploy_ends_with(fake, result("failed", failure=FAILURE))
    code, seen = run_on_terminal(root, "apply", spec, LC_ALL="C")
    assert code == 3 and seen.isascii() and "x\033[0m Deployment failed" in seen


# Completion and manual


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_good_shell(root, shell):
    script = teal(root, "completion", shell)
    assert script.code == 0 and "rollback" in script.out and "detach" in script.out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script.out, text=True, check=True)


def bash_completes(root, *words):
    script = (f"source <({TEAL} completion bash); COMP_WORDS=({TEAL} --root {root} {' '.join(words)}); "
              "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); compopt() { :; }; _teal; printf '%s\\n' \"${COMPREPLY[@]}\"")
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout.split()


def test_bash_completes_verbs_options_and_live_services(root, fake):
    fake.routes["GET", "/v1/services"] = (200, {"services": [{"service": "web"}, {"service": "worker"}]})
    assert bash_completes(root, "ro") == ["rollback"]
    assert bash_completes(root, "apply", "--de") == ["--detach"]
    assert bash_completes(root, "logs", "w") == ["web", "worker"]
    assert bash_completes(root, "image", "''") == ["ls", "pull", "load", "import", "inspect", "rm"]
    assert bash_completes(root, "completion", "z") == ["zsh"]


def test_manual_page_is_the_one_that_the_command_writes(root):
    source = teal(root, "help", "--man").out
    assert "## teal rollback" in source
    kept = TREE / "docs/man/teal.1.scd"
    assert kept.read_text() == source, f"`make man` writes {kept} anew"
    if shutil.which("scdoc"):
        page = subprocess.run(["scdoc"], input=source, capture_output=True, text=True)
        assert page.returncode == 0, page.stderr
        assert ".SH EXIT STATUS" in page.stdout
