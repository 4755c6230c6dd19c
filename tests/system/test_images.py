"""Images from directories and archives: what is in their layers, what their configuration says, and what is wrong with them."""
import gzip
import json
import os
import stat

import pytest

import load
import oci
from agent import BUILD
from wait import wait_for

HELLO = BUILD / "examples/hello/rootfs"
CONFIG = {"Entrypoint": ["/bin/hello"], "Env": ["VERSION=of-image"], "WorkingDir": "/tmp", "User": "1000:1000"}


@pytest.fixture(scope="module")
def hello():
    return oci.tree(HELLO)


def rootfs(agent, digest):
    return agent.state_dir / "images" / digest.replace(":", "-") / "rootfs"




def apply(agent, port, ref, code=0, **keys):
    return agent.teal("apply", agent.spec(port=port, image=str(ref), command=None, env=None, environment=None, **keys), code=code)


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive", "docker-archive-25"])
def test_each_kind_runs_with_what_the_image_says(agent, port, tmp_path, hello, kind):
    made = oci.image(hello, oci.tar(oci.entry("etc/added", b"by the second layer")), config=CONFIG)
    if kind == "oci":
        ref = f"oci:{oci.layout(tmp_path / 'i', made)}:v1"
    elif kind == "oci-archive":
        ref = f"oci-archive:{oci.oci_archive(tmp_path / 'i.tar', made)}"
    else:
        ref = f"docker-archive:{oci.docker_archive(tmp_path / 'i.tar', made, new=kind.endswith('25'))}"
    result = apply(agent, port, ref).json
    assert result["result"] == "deployed"
    assert "version of-image" in load.get(port)[1]
    [stored] = agent.api("GET", "/v1/images")["images"]
    assert (rootfs(agent, stored["digest"]) / "etc/added").read_text() == "by the second layer"
    assert apply(agent, port, ref).json["result"] == "unchanged"


def test_the_spec_overrides_the_image_as_compose_does(agent, port, tmp_path, hello):
    made = oci.image(hello, config={**CONFIG, "Cmd": ["no-such-argument"], "Entrypoint": ["/bin/nothing"]})
    path = oci.layout(tmp_path / "i", made)
    agent.teal("apply", agent.spec(port=port, image=f"oci:{path}", command=None, entrypoint=["/bin/hello"], version="of-spec"))
    assert "version of-spec" in load.get(port)[1]


@pytest.mark.parametrize("pack, suffix", [(gzip.compress, "+gzip"), (oci.zstd, "+zstd"), (bytes, "")])
def test_each_compression(agent, port, tmp_path, hello, pack, suffix):
    made = oci.image(hello, config=CONFIG, pack=pack, suffix=suffix)
    apply(agent, port, f"oci:{oci.layout(tmp_path / 'i', made)}")
    assert "version of-image" in load.get(port)[1]


def test_an_index_gives_the_image_of_this_machine(agent, port, tmp_path, hello):
    made = oci.image(hello, config=CONFIG)
    foreign = {**made.manifest, "digest": oci.digest(b"elsewhere"), "platform": {"os": "linux", "architecture": "vax"}}
    attestation = {**made.manifest, "digest": oci.digest(b"a"), "platform": {"os": "unknown", "architecture": "unknown"}}
    own = {**made.manifest, "platform": {"os": "linux", "architecture": oci.ARCHITECTURE}}
    made.manifest = oci.index(made.blobs, foreign, attestation, own)
    apply(agent, port, f"oci:{oci.layout(tmp_path / 'i', made)}")
    [stored] = agent.api("GET", "/v1/images")["images"]
    assert stored["digest"] == own["digest"]


def test_images_share_the_files_of_their_layers(agent, port, tmp_path, hello):
    first = oci.image(hello, config=CONFIG)
    second = oci.image(hello, oci.tar(oci.entry("etc/two", b"2")), config=CONFIG)
    path = oci.layout(tmp_path / "i", first, second, names=("v1", "v2"))
    apply(agent, port, f"oci:{path}:v1")
    apply(agent, port, f"oci:{path}:v2")
    inodes = {os.stat(rootfs(agent, i.digest) / "bin/hello").st_ino for i in (first, second)}
    assert len(inodes) == 1 and len(os.listdir(agent.state_dir / "layers")) == 2


LAYERED = [
    # name, layers, what is there afterwards (None: nothing is)
    ("file over file", [[oci.entry("a", b"1")], [oci.entry("a", b"2")]], {"a": b"2"}),
    ("whiteout", [[oci.entry("d/a", b"1"), oci.entry("d/b", b"1")], [oci.entry("d/.wh.a")]], {"d/a": None, "d/b": b"1"}),
    ("whiteout of a directory", [[oci.entry("d/e/f", b"1")], [oci.entry("d/.wh.e")]], {"d/e": None}),
    ("opaque", [[oci.entry("d/a", b"1")], [oci.entry("d/.wh..wh..opq"), oci.entry("d/b", b"2")]], {"d/a": None, "d/b": b"2"}),
    ("opaque comes last", [[oci.entry("d/a", b"1")], [oci.entry("d/b", b"2"), oci.entry("d/.wh..wh..opq")]], {"d/a": None, "d/b": b"2"}),
    ("whiteout and the same name", [[oci.entry("d/a", b"1")], [oci.directory("d/a"), oci.entry("d/.wh.a"), oci.entry("d/a/n", b"2")]],
     {"d/a/n": b"2"}),
    ("whiteout, then a directory", [[oci.entry("d/a/old", b"1")], [oci.entry("d/.wh.a"), oci.directory("d/a"), oci.entry("d/a/n", b"2")]],
     {"d/a/old": None, "d/a/n": b"2"}),
    ("whiteout of nothing there", [[oci.entry("a", b"1")], [oci.entry(".wh.zzz")]], {"a": b"1", "zzz": None}),
    ("file over directory", [[oci.entry("a/b", b"1")], [oci.entry("a", b"2")]], {"a": b"2"}),
    ("directory over file", [[oci.entry("a", b"1")], [oci.entry("a/b", b"2")]], {"a/b": b"2"}),
    ("through a symlink below", [[oci.directory("usr/lib"), oci.symlink("lib", "usr/lib")], [oci.entry("lib/x", b"2")]],
     {"usr/lib/x": b"2"}),
    ("a directory instead of a symlink", [[oci.directory("usr/lib"), oci.symlink("lib", "usr/lib")],
                                          [oci.directory("lib"), oci.entry("lib/x", b"2")]], {"usr/lib/x": None, "lib/x": b"2"}),
    ("hard link to a layer below", [[oci.entry("a", b"1")], [oci.hardlink("b", "a")]], {"a": b"1", "b": b"1"}),
    ("hard link in one layer", [[oci.entry("a", b"1"), oci.hardlink("d/b", "/a")]], {"d/b": b"1"}),
    ("the same layer twice", [[oci.entry("a", b"1")], [oci.entry("a", b"2")], [oci.entry("a", b"1")]], {"a": b"1"}),
]


@pytest.mark.parametrize("layers, expected", [row[1:] for row in LAYERED], ids=[row[0] for row in LAYERED])
def test_layers_on_layers(agent, port, tmp_path, hello, layers, expected):
    made = oci.image(hello, *(oci.tar(*entries) for entries in layers), config=CONFIG)
    apply(agent, port, f"oci:{oci.layout(tmp_path / 'i', made)}")
    for name, content in expected.items():
        path = rootfs(agent, made.digest) / name
        assert path.read_bytes() == content if content is not None else not os.path.lexists(path), name


def test_owner_mode_times_and_attributes_are_kept(agent, port, tmp_path, hello):
    xattr = {"SCHILY.xattr.user.color": "blue", "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.x": "y"}
    made = oci.image(hello, oci.tar(
        oci.directory("d", mode=0o1770, uid=7, gid=8, mtime=1234567890.5), oci.entry("d/f", b"x", mode=0o4755, uid=1000, gid=50, pax=xattr),
        oci.symlink("d/l", "f", uid=3, gid=4), oci.entry("d/p", kind=b"6", mode=0o600)), oci.tar(oci.entry("d/later", b"")), config=CONFIG)
    apply(agent, port, f"oci:{oci.layout(tmp_path / 'i', made)}")
    root = rootfs(agent, made.digest)
    d, f, l, p = (os.lstat(root / n) for n in ("d", "d/f", "d/l", "d/p"))
    assert (stat.S_IMODE(d.st_mode), d.st_uid, d.st_gid, d.st_mtime) == (0o1770, 7, 8, 1234567890.5)
    assert (stat.S_IMODE(f.st_mode), f.st_uid, f.st_gid, f.st_mtime) == (0o4755, 1000, 50, 1000000000)
    assert (l.st_uid, l.st_gid, l.st_mtime) == (3, 4, 1000000000) and stat.S_ISFIFO(p.st_mode)
    assert {k: os.getxattr(root / "d/f", k) for k in os.listxattr(root / "d/f")} == {"user.color": b"blue"}
    assert not os.listxattr(root / "d")


def edit_manifest(**changes):
    return lambda manifest, config: manifest.update(changes)


def edit_layer(**changes):
    return lambda manifest, config: manifest["layers"][0].update(changes)


def edit_config(**changes):
    return lambda manifest, config: config.update(changes)


SPOILT = [
    ("layer's digest", edit_layer(digest=oci.digest(b"another")), "No such file"),
    ("digest with a path", edit_layer(digest="sha256:../../../../etc/passwd"), "without a sha256 digest"),
    ("digest of another kind", edit_layer(digest="md5:" + "0" * 32), "without a sha256 digest"),
    ("size too small", edit_layer(size=1), "not the 1 that the manifest says"),
    ("size below zero", edit_layer(size=-1), "has no size"),
    ("size is text", edit_layer(size="12"), "has no size"),
    ("no layers", edit_manifest(layers=None), "no list of"),
    ("layers is an object", edit_manifest(layers={}), "no list of"),
    ("too many layers", lambda m, c: m.update(layers=m["layers"] * 128), "too many"),
    ("manifest and index at once", edit_manifest(manifests=[]), "an index too"),
    ("index by name", edit_manifest(mediaType=oci.INDEX), "something else"),
    ("schema 1", edit_manifest(schemaVersion=1), "schema version 1"),
    ("unknown kind", edit_manifest(mediaType="application/x"), "not a kind of manifest"),
    ("encrypted layer", edit_layer(mediaType=oci.LAYER + "+gzip+encrypted"), "can't be used"),
    ("foreign layer", edit_layer(mediaType="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "can't be used"),
    ("no config", edit_manifest(config={}), "without a sha256 digest"),
    ("diff_id of another", edit_config(rootfs={"diff_ids": [oci.digest(b"another")]}), "of the configuration"),
    ("diff_id is a path", edit_config(rootfs={"diff_ids": ["sha256:../x"]}), "no sha256 digest"),
    ("diff_id is a number", edit_config(rootfs={"diff_ids": [7]}), "no sha256 digest"),
    ("fewer diff_ids", edit_config(rootfs={"diff_ids": []}), "the manifest has 1 layers, the configuration 0"),
    ("no rootfs", edit_config(rootfs=None), "no list of layers"),
    ("entrypoint is text", edit_config(config={"Entrypoint": "/bin/sh"}), "Entrypoint is malformed"),
    ("env with a number", edit_config(config={"Env": [1]}), "Env is malformed"),
    ("user is a list", edit_config(config={"User": ["root"]}), "User is malformed"),
    ("another machine", edit_config(architecture="vax"), "linux/vax"),
    ("another system", edit_config(os="windows"), "another system"),
]


@pytest.mark.parametrize("edit, said", [row[1:] for row in SPOILT], ids=[row[0] for row in SPOILT])
def test_a_spoilt_image_is_refused_and_leaves_nothing(agent, port, tmp_path, edit, said):
    made = oci.image(oci.tar(oci.entry("a", b"1")), config=CONFIG, edit=edit)
    path = oci.layout(tmp_path / "i", made)
    answer = apply(agent, port, f"oci:{path}", code=None)
    assert answer.code in (1, 3) and said in answer.said, answer.said
    assert os.listdir(agent.state_dir / "images") == [] and os.listdir(agent.state_dir / "layers") == []


def test_a_failed_image_leaves_the_old_one_serving(agent, port, tmp_path, hello):
    agent.teal("apply", agent.spec(port=port))
    made = oci.image(hello, config=CONFIG, edit=edit_config(rootfs={"diff_ids": [oci.digest(b"another")]}))
    result = apply(agent, port, f"oci:{oci.layout(tmp_path / 'i', made)}", code=3).json
    assert not result["changed"] and result["serves"] == 1
    assert "generation 1" in load.get(port)[1]


def test_which_of_several_images_is_asked_for(agent, port, tmp_path, hello):
    one, two = oci.image(hello, config=CONFIG), oci.image(hello, oci.tar(oci.entry("x", b"")), config=CONFIG)
    path = oci.layout(tmp_path / "i", one, two, names=("v1", "v2"))
    assert "v1, v2" in apply(agent, port, f"oci:{path}", code=1).said
    assert "no image named v3" in apply(agent, port, f"oci:{path}:v3", code=1).said
    assert "open" in apply(agent, port, f"oci:{tmp_path}/nowhere", code=1).said
    assert json.loads((path / "index.json").read_text())


# By hand

def test_load_inspect_and_remove(agent, tmp_path, hello):
    made = oci.image(hello, config=CONFIG)
    archive = oci.docker_archive(tmp_path / "i.tar", made)
    digest = agent.teal("image", "load", archive).json["digest"]
    assert digest == oci.digest(made.config)
    known = agent.teal("image", "inspect", digest[7:19]).json
    assert known["config"]["Entrypoint"] == ["/bin/hello"] and known["layers"] == [oci.digest(hello)] and known["used"] is False
    assert agent.teal("gc").json["changed"] is False  # asked for by hand
    agent.teal("image", "rm", digest[7:19])
    assert agent.api("GET", "/v1/images")["images"] == []
    assert os.listdir(agent.state_dir / "layers") == [] and os.listdir(agent.state_dir / "images") == []
    assert "no image" in agent.teal("image", "rm", digest, code=1).said


def test_an_image_in_use_stays(agent, port, tmp_path, hello):
    path = oci.layout(tmp_path / "i", oci.image(hello, config=CONFIG))
    apply(agent, port, f"oci:{path}")
    [stored] = agent.api("GET", "/v1/images")["images"]
    assert "of a service" in agent.teal("image", "rm", stored["digest"], code=5).said
    assert agent.teal("gc", "--dry-run").json["images"] == []


def test_a_removed_service_leaves_neither_images_nor_layers(agent, port, tmp_path, hello):
    one, two = oci.image(hello, config=CONFIG), oci.image(hello, oci.tar(oci.entry("x", b"")), config=CONFIG)
    path = oci.layout(tmp_path / "i", one, two, names=("v1", "v2"))
    apply(agent, port, f"oci:{path}:v2")
    kept = agent.teal("image", "pull", f"oci:{path}:v1").json["digest"]
    agent.teal("rm", "hello")
    wait_for(lambda: [i["digest"] for i in agent.api("GET", "/v1/images")["images"]] == [kept], 10, "only what was pulled by hand stays")
    wait_for(lambda: len(os.listdir(agent.state_dir / "layers")) == 1, 10, "its layer stays")


def test_a_directory_by_hand(agent):
    digest = agent.teal("image", "import", HELLO).json["digest"]
    assert (rootfs(agent, digest) / "bin/hello").exists()
    assert agent.teal("image", "import", "/nowhere", code=1)
