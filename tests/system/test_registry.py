"""Images of registries: real ones (Debian's docker-registry) and those that lie, break off, and ask for what is not theirs."""
import base64
import json
import os
import shutil
import socket
import subprocess

import pytest

import load
import oci
from agent import BUILD
from fake_registry import FakeRegistry
from wait import wait_for

CONFIG = {"Entrypoint": ["/bin/hello"], "Env": ["VERSION=of-registry"]}
SECRET = "shop:correct horse"


@pytest.fixture(scope="module")
def made():
    return oci.image(oci.tree(BUILD / "examples/hello/rootfs"), oci.tar(oci.entry("etc/big", os.urandom(1 << 20))), config=CONFIG)


@pytest.fixture
def serve(made):
    """A function that starts a fake registry with the image."""
    running = []

    def start(image=made, **how):
        running.append(FakeRegistry(image, **how))
        return running[-1]

    yield start
    for registry in running:
        registry.close()


def apply(agent, port, ref, code=0, **keys):
    return agent.teal("apply", agent.spec(port=port, image=str(ref), command=None, environment=None, **keys), code=code)


def log_in(agent, host, pair=SECRET, **entry):
    etc = agent.root / "etc"
    etc.mkdir(exist_ok=True)
    auth = entry or {"auth": base64.b64encode(pair.encode()).decode()}
    (etc / "auth.json").write_text(json.dumps({"auths": {host: auth}}))


def test_pull_and_run(agent, port, serve):
    registry = serve()
    assert apply(agent, port, registry.ref).json["result"] == "deployed"
    assert "version of-registry" in load.get(port)[1]
    assert apply(agent, port, registry.ref).json["result"] == "unchanged"
    assert not registry.sent()


def test_the_tag_is_resolved_once(agent, port, serve, made):
    """What is fetched is the digest that apply saw, even when the tag has moved before the fetch."""
    registry = serve()
    other = oci.image(made.tars[0], config={**CONFIG, "Env": ["VERSION=moved"]})
    seen = []

    def by_tag(h):
        seen.append(h.path)
        served = made if len(seen) == 1 else other
        h.answer(200, served.blobs[served.digest], {"Content-Type": oci.MANIFEST})

    registry.rules["manifests/v1"] = by_tag
    apply(agent, port, registry.ref)
    assert len(seen) == 1 and "version of-registry" in load.get(port)[1]


def test_by_digest_and_from_an_index(agent, port, serve, made):
    blobs = dict(made.blobs)
    top = oci.index(blobs, {**made.manifest, "platform": {"os": "linux", "architecture": oci.ARCHITECTURE}})
    registry = serve(oci.Image(blobs, top, made.config, made.tars))
    apply(agent, port, f"{registry.host}/shop/web@{top['digest']}")
    [stored] = agent.api("GET", "/v1/images")["images"]
    assert stored["digest"] == made.digest


def test_basic_authentication(agent, port, serve):
    registry = serve(credentials=SECRET)
    assert "teal login" in apply(agent, port, registry.ref, code=1).said
    log_in(agent, registry.host, "shop:wrong")
    said = apply(agent, port, registry.ref, code=1).said
    assert "credentials" in said and "wrong" not in said
    log_in(agent, registry.host)
    apply(agent, port, registry.ref)
    assert "correct horse" not in agent.log()


def test_token_authentication(agent, port, serve):
    registry = serve(realm="set below")
    registry.realm = f"http://{registry.host}/token"
    log_in(agent, registry.host)
    apply(agent, port, registry.ref)
    [asked] = {path for path, _ in registry.requests if path.startswith("/token")}
    assert "scope=repository%3Ashop%2Fweb%3Apull" in asked and "service=fake" in asked
    assert {a.split()[0] for a in registry.sent()} == {"Basic", "Bearer"}


def test_credentials_of_the_longest_prefix(agent, port, serve):
    registry = serve(credentials=SECRET)
    etc = agent.root / "etc"
    etc.mkdir()
    right, wrong = (base64.b64encode(p).decode() for p in (SECRET.encode(), b"a:b"))
    (etc / "auth.json").write_text(json.dumps({"auths": {registry.host: {"auth": wrong}, f"{registry.host}/shop": {"auth": right},
                                                         f"{registry.host}/sho": {"auth": wrong}}}))
    apply(agent, port, registry.ref)


REALMS = ["http://169.254.169.254/token", "http://example.com/token", "https://example.com/token", "ftp://127.0.0.1/token", "file:///etc/passwd",
          "http://127.0.0.1@example.com/", "http://user:pw@127.0.0.1/", "//x", "", "http://0.0.0.0/token", "http://[::ffff:127.0.0.1]/token",
          "http://127.0.0.1.example.com/token", "javascript:1", "http://2130706433.example.org/", "gopher://127.0.0.1:70/"]


def test_no_credentials_for_a_realm_elsewhere(agent, port, serve):
    for realm in REALMS:
        registry = serve(realm=realm)
        log_in(agent, registry.host)
        said = apply(agent, port, registry.ref, code=1).said
        assert "realm" in said or "token" in said, (realm, said)
        assert not registry.sent()


CHALLENGES = ["Digest realm=x", "Bearer", "Bearer realm", "Bearer realm=", 'Bearer realm="unclosed', "Negotiate", "Bearer " + "x" * 5000, "\x7f",
              'Bearer service="x"', "Bearer ,,,,=,=,", "NTLM TlRMTVNTUAAB", 'Bearer realm="http://127.0.0.1:1/"']


def test_odd_challenges(agent, port, serve):
    for challenge in CHALLENGES:
        registry = serve()
        log_in(agent, registry.host)
        registry.rules["/manifests/"] = lambda h: h.answer(401, headers={"WWW-Authenticate": challenge})
        apply(agent, port, registry.ref, code=1)
        assert not registry.sent()


TOKENS = [b"", b"{}", b"[]", b'{"token":7}', b'{"token":""}', b'{"token":"a b"}', b'{"token":"a\\r\\nX-Evil: 1"}', b'{"token":"a","token":"b"}',
          b'{"token":"' + b"x" * 100000 + b'"}', b"<html>"]


def test_odd_tokens(agent, port, serve):
    for body in TOKENS:
        registry = serve(realm="set below")
        registry.realm = f"http://{registry.host}/token"
        registry.rules["/token"] = lambda h: h.answer(200, body)
        apply(agent, port, registry.ref, code=1)
        assert not registry.sent("X-Evil")


def test_a_token_server_that_redirects_gets_nothing_more(agent, port, serve):
    elsewhere = serve()
    registry = serve(realm="set below")
    registry.realm = f"http://{registry.host}/token"
    registry.rules["/token"] = lambda h: h.answer(302, headers={"Location": f"http://{elsewhere.host}/token"})
    log_in(agent, registry.host)
    apply(agent, port, registry.ref, code=1)
    assert not elsewhere.requests


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_no_credentials_along(agent, port, serve, status):
    storage = serve()
    registry = serve(credentials=SECRET)
    log_in(agent, registry.host)
    registry.rules["/blobs/"] = lambda h: h.answer(status, headers={"Location": f"http://{storage.host}{h.path}"})
    apply(agent, port, registry.ref)
    assert storage.requests and not storage.sent()


LOCATIONS = ["http://example.com/x", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "ftp://127.0.0.1/x", "", "//", "http://",
             "http://user:pw@127.0.0.1/x", "gopher://127.0.0.1/", "http://10.0.0.1/x", "x" * 5000]


def test_redirects_to_where_they_must_not_lead(agent, port, serve):
    for location in LOCATIONS:
        registry = serve()
        registry.rules["/blobs/"] = lambda h: h.answer(302, headers={"Location": location})
        assert apply(agent, port, registry.ref, code=3).json["result"] != "deployed", location
        assert os.listdir(agent.state_dir / "layers") == []


def test_redirects_in_circles_end(agent, port, serve):
    registry = serve()
    registry.rules["/blobs/"] = lambda h: h.answer(302, headers={"Location": h.path})
    assert "redirects again" in apply(agent, port, registry.ref, code=3).said
    assert len(registry.requests) < 100


def test_a_download_is_resumed_where_it_broke(agent, port, serve, made):
    registry = serve()
    layer, cuts = registry.layer(1), []
    data = made.blobs[layer]

    def break_off(h):
        start = int(h.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        cuts.append(start)
        if len(cuts) > 3:
            return registry.serve_blob(h, data)
        h.send_response(206 if start else 200)
        if start:
            h.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        h.send_header("Content-Length", str(len(data) - start))
        h.end_headers()
        h.wfile.write(data[start:start + 200000])
        h.wfile.flush()
        h.cut()

    registry.rules[layer] = break_off
    apply(agent, port, registry.ref)
    assert cuts[0] == 0 and cuts[1:] == sorted(cuts[1:]) and cuts[-1] > 0


def spoil_range(registry, data):
    """Answers a resumed download with another part than was asked for."""
    calls = []

    def rule(h):
        calls.append(1)
        if len(calls) == 1:
            h.send_response(200)
            h.send_header("Content-Length", str(len(data)))
            h.end_headers()
            h.wfile.write(data[:1000])
            h.wfile.flush()
            return h.cut()
        return h.answer(206, data[5000:], {"Content-Range": f"bytes 5000-{len(data) - 1}/{len(data)}"})

    return rule


BLOBS = [
    ("another content", lambda r, d: lambda h: h.answer(200, bytes(len(d))), "not what the manifest says"),
    ("one byte more", lambda r, d: lambda h: h.answer(200, d + b"x"), "longer than"),
    ("endless", lambda r, d: lambda h: h.answer(200, d + bytes(8 << 20), length=1 << 50), "longer than"),
    ("one byte less", lambda r, d: lambda h: h.answer(200, d[:-1]), "ended after"),
    ("nothing", lambda r, d: lambda h: h.answer(200, b""), "ended after"),
    ("another part", spoil_range, "another part"),
    ("gone", lambda r, d: lambda h: h.answer(404), "has no such layer"),
    ("forbidden", lambda r, d: lambda h: h.answer(403), "credentials"),
    ("broken server", lambda r, d: lambda h: h.answer(500), "answers 500"),
    ("cut at once", lambda r, d: lambda h: h.cut(), "registry"),
    ("no HTTP", lambda r, d: lambda h: (h.wfile.write(b"220 smtp ready\r\n"), h.cut()), "registry"),
    ("switching protocols", lambda r, d: lambda h: (h.wfile.write(b"HTTP/1.1 101 Switching\r\n\r\n"), h.cut()), "registry"),
    ("endless header", lambda r, d: lambda h: (h.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 400000), h.cut()), "registry"),
]


def test_layers_that_are_not_what_they_should_be(agent, port, serve, made):
    agent.teal("apply", agent.spec(port=port))
    for name, rule, said in BLOBS:
        registry = serve()
        registry.rules[registry.layer()] = rule(registry, made.blobs[registry.layer()])
        result = apply(agent, port, registry.ref, code=3)
        assert said in result.said and result.json["serves"] == 1, f"{name}: {result.said}"
        assert "generation 1" in load.get(port)[1]
        assert not [n for n in os.listdir(agent.state_dir / "layers") if n.startswith("tmp-")]


MANIFESTS = [
    (b"", "manifest"), (b"{}", "neither"), (b"[]", "manifest"), (b"null", "manifest"), (b"\xff\xfe", "manifest"), (b"[" * 100000, "manifest"),
    (b'{"a":1,"a":2}', "manifest"), (b'{"schemaVersion":1,"layers":[]}', "schema version 1"), (b'{"layers":[],"manifests":[]}', "an index too"),
    (b'{"manifests":[]}', "no image for"), (b'{"manifests":{}}', "no list"), (b'{"layers":[],"config":{"digest":"sha256:x","size":1}}', "digest"),
    (b'{"layers":[{}],"config":{}}', "digest"), (b"x" * (5 << 20), "larger than"),
]


def test_odd_manifests(agent, port, serve):
    for body, said in MANIFESTS:
        registry = serve()
        registry.rules["/manifests/"] = lambda h: h.answer(200, body)
        result = apply(agent, port, registry.ref, code=None)
        assert result.code in (1, 3) and said in result.said, result.said


def test_a_manifest_by_digest_is_that_one(agent, port, serve, made):
    registry = serve()
    registry.rules["/manifests/"] = lambda h: h.answer(200, b'{"layers":[],"config":{}}')
    assert "another content" in apply(agent, port, f"{registry.host}/shop/web@{made.digest}", code=1).said


def test_what_the_registry_announces_must_be_what_it_sends(agent, port, serve, made):
    registry = serve()
    registry.rules["/manifests/"] = lambda h: h.answer(
        200, made.blobs[made.digest], {"Content-Type": oci.MANIFEST, "Docker-Content-Digest": oci.digest(b"another")})
    assert "announces" in apply(agent, port, registry.ref, code=1).said


def test_a_busy_registry_is_asked_again_when_it_says(agent, port, serve):
    registry = serve()
    calls = []

    def busy(h):
        calls.append(1)
        return h.answer(429, headers={"Retry-After": "0"}) if len(calls) < 3 else registry.serve(h)

    registry.rules["/manifests/"] = busy
    apply(agent, port, registry.ref)
    assert len(calls) >= 3


def test_a_pull_can_be_aborted(agent, port, serve, made):
    registry = serve()
    agent.teal("apply", agent.spec(port=port))
    asked = []

    def stall(h):
        asked.append(1)
        h.send_response(200)
        h.send_header("Content-Length", "1000000")
        h.end_headers()
        h.wfile.flush()
        wait_for(lambda: len(asked) < 0 or not agent.status().get("deployment"), 30, "the deployment is over")
        h.cut()

    registry.rules[registry.layer(1)] = stall
    agent.teal("apply", "--detach", agent.spec(port=port, image=registry.ref, command=None, environment=None))
    wait_for(lambda: asked, 10, "the layer is asked for")
    agent.teal("abort", "hello", code=None)
    assert agent.status()["active"] == 1 and "generation 1" in load.get(port)[1]


def test_a_killed_agent_pulls_again_and_leaves_nothing(agent, port, serve, made):
    registry = serve()
    asked, over = [], []

    def stall(h):
        asked.append(1)
        if over:
            return registry.serve(h)
        h.send_response(200)
        h.send_header("Content-Length", "1000000")
        h.end_headers()
        h.wfile.flush()
        wait_for(lambda: over, 30, "the agent was killed")
        h.cut()

    registry.rules[registry.layer(1)] = stall
    agent.teal("apply", "--detach", agent.spec(port=port, image=registry.ref, command=None, environment=None))
    wait_for(lambda: asked, 10, "the layer is asked for")
    agent.kill()
    over.append(1)
    agent.start()
    wait_for(lambda: agent.status().get("active") == 1, 20, "it deploys after all")
    assert not [n for d in ("layers", "images") for n in os.listdir(agent.state_dir / d) if n.startswith("tmp-")]


# A real one

@pytest.fixture
def docker_registry(tmp_path, new_port):
    missing = [t for t in ("docker-registry", "skopeo") if not shutil.which(t)]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} (apt-get install {' '.join(missing)})")
    running = []

    def start(**http):
        port = new_port()
        config = tmp_path / "registry.yml"
        config.write_text(json.dumps({"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
                                      "http": {"addr": f"127.0.0.1:{port}", **http.pop("http", {})}, **http}))
        running.append(subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        def up():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0

        wait_for(up, 20, "the registry listens")
        return f"127.0.0.1:{port}"

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


def push(layout, target, *options):
    subprocess.run(["skopeo", "copy", "--quiet", *options, f"oci:{layout}:v1", f"docker://{target}"], check=True)


def test_debians_registry(agent, port, tmp_path, made, docker_registry):
    host = docker_registry()
    push(oci.layout(tmp_path / "i", made), f"{host}/shop/web:v1", "--dest-tls-verify=false")
    assert apply(agent, port, f"{host}/shop/web:v1").json["result"] == "deployed"
    assert "version of-registry" in load.get(port)[1]


def test_debians_registry_with_tls(agent, port, tmp_path, made, docker_registry):
    key, cert = tmp_path / "key.pem", tmp_path / "ca.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert,
                    "-days", "2", "-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    host = docker_registry(http={"tls": {"certificate": str(cert), "key": str(key)}})
    push(oci.layout(tmp_path / "i", made), f"{host}/shop/web:v1", "--dest-tls-verify=false")
    assert "certificate" in apply(agent, port, f"{host}/shop/web:v1", code=1).said
    trusted = agent.root / "etc/certs.d" / host
    trusted.mkdir(parents=True)
    shutil.copy(cert, trusted / "ca.crt")
    assert apply(agent, port, f"{host}/shop/web:v1").json["result"] == "deployed"
