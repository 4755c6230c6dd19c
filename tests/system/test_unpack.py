"""teal-unpack and archives of ill will: nothing outside its directory, no crash, an error that names the entry, little memory."""
import bz2
import gzip
import json
import os
import pathlib
import struct
import subprocess
import sys
import tarfile
import time

import pytest

import oci
from agent import BUILD, SANITIZED

pytestmark = [pytest.mark.sanitized, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: other owners")]

SECONDS, MEMORY_KIB = 10, 64 * 1024
# Between us and it, so that what is measured is its memory and not that of who started it.
RUNNER = """
import os, sys
pid = os.fork()
if not pid:
    os.execv(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(status, usage.ru_maxrss, file=sys.stderr)
"""


class Unpacked:
    def __init__(self, code, report, tree):
        self.code, self.report, self.tree = code, report, tree

    @property
    def error(self):
        return self.report.get("error", "")

    def files(self):
        return sorted(str(p.relative_to(self.tree)) for p in self.tree.rglob("*"))


@pytest.fixture
def unpack(tmp_path):
    """A function that unpacks bytes into PARENT/tree; PARENT holds a file that must stay as it is."""
    tree, outside = tmp_path / "parent/tree", tmp_path / "parent/outside"
    tree.mkdir(parents=True)
    outside.write_text("untouched")
    secret = tmp_path / "secret"
    secret.mkdir()
    before = seen(tmp_path, tree)

    def run(data, layer=True):
        archive = tmp_path / "archive"
        archive.write_bytes(data)
        began = time.monotonic()
        directory = os.open(tree, os.O_RDONLY)
        high = os.dup2(directory, 200, inheritable=False)
        try:
            with open(archive, "rb") as source:
                ran = subprocess.run(
                    [sys.executable, "-S", "-E", "-c", RUNNER, BUILD / "teal-unpack", *(["--layer"] if layer else [])], stdin=source,
                    capture_output=True, close_fds=False, preexec_fn=lambda: os.dup2(high, 3, inheritable=True),
                    env={"ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1"})
        finally:
            os.close(high)
            os.close(directory)
        archive.unlink()
        took = time.monotonic() - began
        status, rss_kib = map(int, ran.stderr.split()[-2:])
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 1), f"ended with {code}: {ran.stdout!r} {ran.stderr!r}"
        report = json.loads(ran.stdout)
        assert (code == 1) == ("error" in report)
        assert seen(tmp_path, tree) == before, "something outside the directory changed"
        if not SANITIZED:
            assert took < SECONDS and rss_kib < MEMORY_KIB, (took, rss_kib)
        return Unpacked(code, report, tree)

    yield run
    assert outside.read_text() == "untouched"


def seen(root, but):
    """Everything below root but what is in `but`: names, and what stat says that a stranger could change."""
    found = {}
    for path, dirs, files in os.walk(root):
        if pathlib.Path(path) == but:
            dirs.clear()
            continue
        for name in dirs + files:
            st = os.lstat(os.path.join(path, name))
            own = pathlib.Path(path, name) == but
            found[os.path.join(path, name)] = (st.st_ino, None if own else (st.st_mode, st.st_uid, st.st_size, st.st_mtime_ns))
    return found


def e(name, content=b"x", **more):
    return oci.entry(name, content, **more)


REFUSED_NAMES = ["..", "../x", "../../../../../../tmp/x", "a/../../x", "a/..", "/../x", "./../x", "a/b/../../../outside",
                 "..//outside", "a/./../outside", "a/" + "b/" * 200 + "c", "x" * 256, "a/" + "x" * 300, "y/" * 2100 + "z"]


@pytest.mark.parametrize("name", REFUSED_NAMES, ids=lambda n: n[:30])
@pytest.mark.parametrize("kind", ["file", "dir", "symlink"])
def test_names_that_no_archive_of_good_will_has(unpack, name, kind):
    made = {"file": e(name), "dir": oci.directory(name), "symlink": oci.symlink(name, "x")}[kind]
    result = unpack(oci.tar(made))
    assert result.code == 1 and name.rstrip("/")[:100] in result.error


KEPT_NAMES = {"/etc/x": "etc/x", "//x": "x", "./x": "x", ".//a///b": "a/b", "a/./b": "a/b", " ": " ", "a b\tc": "a b\tc", "...": "...",
              "..a": "..a", "-rf": "-rf", "*": "*", "$(reboot)": "$(reboot)", "a\nb": "a\nb", "é": "é", "\U0001f600": "\U0001f600",
              "x" * 255: "x" * 255, "C:\\x": "C:\\x", "\\..\\x": "\\..\\x", "%s%n": "%s%n"}


@pytest.mark.parametrize("name", KEPT_NAMES, ids=lambda n: ascii(n)[:30])
def test_odd_names_are_just_names(unpack, name):
    result = unpack(oci.tar(e(name)))
    assert result.code == 0, result.error
    assert KEPT_NAMES[name] in result.files()


@pytest.mark.parametrize("target", ["/etc", "../..", "../../outside", "/proc/self/root", "/proc/self/fd/3/..", ".", "/", "a", "../tree",
                                    "/dev", "nowhere", "../../../../../../../../tmp"])
@pytest.mark.parametrize("then", ["file", "dir", "link", "whiteout", "opaque"])
def test_symlinks_lead_nowhere_outside(unpack, target, then):
    follow = {"file": e("a/outside"), "dir": oci.directory("a/outside", mode=0o777), "link": oci.hardlink("h", "a/outside"),
              "whiteout": e("a/.wh.outside", b""), "opaque": e("a/.wh..wh..opq", b"")}[then]
    result = unpack(oci.tar(oci.symlink("a", target), follow))
    if result.code == 1:
        assert "entry" in result.error and ("a/" in result.error or '"h"' in result.error)


CHAINS = [
    [oci.symlink("a", "b"), oci.symlink("b", "a"), e("a/x")],
    [oci.symlink("a", "."), e("a/a/a/a/x")],
    [oci.symlink(f"l{i}", f"l{i+1}") for i in range(60)] + [e("l0/x")],
    [oci.directory("d"), oci.symlink("d/up", ".."), oci.symlink("s", "d/up/d/up/d/up/.."), e("s/../../../outside")],
    [oci.directory("d"), oci.symlink("s", "d/../../.."), e("s/outside")],
    [oci.symlink("s", "x/" * 2000), e("s/y")],
    [oci.symlink("a", "/"), oci.symlink("b", "a/.."), e("b/outside")],
    [oci.directory("d"), e("d/x"), oci.symlink("d", "/etc"), e("d/passwd")],
    [oci.symlink("d", "/etc"), oci.directory("d", mode=0o777), e("d/passwd")],
    [oci.symlink("f", "../outside"), e("f", b"through")],
    [oci.symlink("f", "../outside"), oci.entry("f", kind=b"6")],
    [oci.symlink("f", "../outside"), oci.hardlink("g", "f"), e("g", b"through")],
]


@pytest.mark.parametrize("entries", CHAINS, ids=range(len(CHAINS)))
def test_chains_of_symlinks(unpack, entries):
    result = unpack(oci.tar(*entries))
    assert result.code == 0 or "entry" in result.error
    assert all(name.count("/") <= 128 for name in result.files())


LINKS = [
    ([oci.hardlink("a", "../outside")], "leads upwards"), ([oci.hardlink("a", "/../outside")], "leads upwards"),
    ([oci.hardlink("a", "a")], "itself"), ([oci.hardlink("a", "/")], "the root"), ([oci.hardlink("a", ".")], "the root"),
    ([oci.directory("d"), oci.hardlink("a", "d")], "no file"),
    ([e(".wh.w", b""), oci.hardlink("a", "w")], "no file"),
    ([oci.symlink("s", "/proc/self"), oci.hardlink("a", "s/exe")], None),
    ([oci.hardlink("a", "x" * 300)], "longer than"),
    ([oci.hardlink("..", "x")], "leads upwards"),
    ([oci.hardlink(".", "x")], "name of the root"),
]


@pytest.mark.parametrize("entries, said", LINKS, ids=range(len(LINKS)))
def test_hard_links(unpack, entries, said):
    result = unpack(oci.tar(*entries))
    assert (result.code == 0) if said is None else said in result.error, result.report


def test_a_hard_link_with_content_is_refused(unpack):
    info, _ = oci.hardlink("b", "a")
    data = bytearray(oci.tar(e("a", b"1"), (info, b""), format=tarfile.USTAR_FORMAT))
    at = 1024
    data[at + 124:at + 136] = b"00000000005\0"
    data[at + 148:at + 156] = b" " * 8
    data[at + 148:at + 155] = b"%06o\0" % sum(data[at:at + 512])
    result = unpack(bytes(data[:at + 512]) + b"hello".ljust(512, b"\0") + bytes(1024))
    assert result.code == 1 or (result.tree / "a").read_bytes() == b"1"


WHITEOUTS = [
    (".wh.", "whiteout of nothing"), ("d/.wh.", "whiteout of nothing"), (".wh..", "whiteout of nothing"),
    (".wh...", "whiteout of nothing"), (".wh..wh.", None), (".wh..wh.aufs", None), (".wh..wh.plnk/x", None), (".wh..wh..opq", None),
    (".wh./x", "whiteout"), ("../.wh.outside", "leads upwards"), (".wh.a/../../outside", "leads upwards"), (".wh." + "x" * 251, None),
]


@pytest.mark.parametrize("name, said", WHITEOUTS, ids=[w[0][:20] for w in WHITEOUTS])
def test_whiteouts(unpack, name, said):
    result = unpack(oci.tar(e(name, b"")))
    if said and result.code == 0:
        assert name == ".wh./x"  # a directory of an odd name, no whiteout
    else:
        assert (result.code == 0) if said is None else said in result.error, result.report


def test_whiteouts_mean_nothing_outside_of_layers(unpack):
    assert unpack(oci.tar(e(".wh.a", b"1")), layer=False).files() == [".wh.a"]


ROOTS = [e("."), e("/."), e("./."), e("/", b""), e("./", b""), e("/./", b""), e("//", b""), oci.symlink(".", "/etc"), oci.symlink("/.", "/etc"), oci.entry("./", kind=b"6")]


@pytest.mark.parametrize("made", ROOTS, ids=range(len(ROOTS)))
def test_nothing_takes_the_place_of_the_root(unpack, made):
    result = unpack(oci.tar(made))
    named_as_directory = made[0].isreg() and made[0].name.endswith("/")  # which makes it one
    assert result.code == (0 if named_as_directory else 1), result.report
    assert result.code == 0 or "root" in result.error
    assert result.files() == []


def test_devices_are_left_out(unpack):
    kinds = [oci.entry(f"dev{k.decode()}", kind=k, devmajor=1, devminor=3) for k in (tarfile.CHRTYPE, tarfile.BLKTYPE)]
    zero = oci.entry("forged", kind=tarfile.CHRTYPE, devmajor=0, devminor=0)
    result = unpack(oci.tar(e("a"), *kinds, zero))
    assert result.code == 0 and result.files() == ["a"] and result.report["left_out"] == 3


META = [
    dict(uid=2**32 - 1), dict(uid=-1), dict(gid=2**40), dict(uid=2**31, gid=2**31), dict(mtime=2**62), dict(mtime=-(2**40)),
    dict(mode=0o177777), dict(mtime=0), dict(uname="root" * 60), dict(pax={"mtime": "nan"}), dict(pax={"size": "-5"}),
    dict(pax={"size": "99999999999999999999"}), dict(pax={"uid": "x"}), dict(pax={"path": ""}), dict(pax={"path": "../x"}),
    dict(pax={"path": "a\0b"}), dict(pax={"linkpath": "/etc/passwd"}), dict(pax={"hdrcharset": "BINARY"}), dict(pax={"GNU.sparse.major": "1"}),
    dict(pax={"GNU.sparse.map": "0,99999999999"}), dict(pax={"GNU.sparse.realsize": "9223372036854775807"}),
    dict(pax={"SCHILY.xattr.user.x": "v" * 70000}), dict(pax={f"SCHILY.xattr.user.a{i}": "v" * 100 for i in range(900)}),
    dict(pax={"SCHILY.xattr.security.capability": "garbage"}), dict(pax={"SCHILY.xattr.": "x"}), dict(pax={"SCHILY.xattr.user.overlay.metacopy": "y"}),
    dict(pax={"SCHILY.xattr.user.teal.link": "/etc/passwd"}), dict(pax={"SCHILY.xattr.system.posix_acl_access": "x"}),
    dict(pax={"SCHILY.acl.access": "user::rwx,"}), dict(pax={"LIBARCHIVE.xattr.user.x": "!!!"}), dict(pax={"SCHILY.fflags": "schg"}),
    dict(pax={"comment": "x" * 1200000}), dict(pax={"x" * 100000: "y"}),
]


@pytest.mark.parametrize("changes", META, ids=lambda c: str(c)[:40])
def test_odd_metadata(unpack, changes):
    try:
        data = oci.tar(e("first"), e("a", **changes), e("last"))
    except (ValueError, struct.error) as impossible:
        pytest.fail(f"the test itself can't make it: {impossible}")
    result = unpack(data)
    assert result.code == 0 or result.error
    for path in result.tree.rglob("*"):
        if path.is_file():
            names = os.listxattr(path)
            assert not any(n.startswith(("user.overlay.", "user.teal.")) for n in names)


def test_marks_of_layers_can_not_be_forged_on_directories(unpack):
    pax = {"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.user.teal.implicit": "y", "SCHILY.xattr.user.ok": "1"}
    result = unpack(oci.tar(oci.directory("d", pax=pax)))
    assert os.listxattr(result.tree / "d") == ["user.ok"]


GOOD = oci.tar(e("a", b"1" * 5000), e("b", b"2"))
FORMATS = {
    "empty": b"", "one byte": b"x", "text": b"hello, world\n" * 100, "zeros": bytes(10240), "zip": b"PK\x03\x04" + bytes(1000),
    "cpio": b"070701" + b"0" * 500, "ar": b"!<arch>\n" + bytes(600), "bzip2": bz2.compress(GOOD), "iso": bytes(32769) + b"CD001" + bytes(4000),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(500), "xar": b"xar!" + bytes(500), "gzip twice": gzip.compress(gzip.compress(GOOD)),
    "gzip of nothing": gzip.compress(b""), "gzip cut": gzip.compress(GOOD)[:-20], "gzip header only": b"\x1f\x8b\x08",
    "gzip spoilt": gzip.compress(GOOD)[:40] + b"\xff" * 40 + gzip.compress(GOOD)[80:], "zstd header only": b"\x28\xb5\x2f\xfd",
    "zstd spoilt": b"\x28\xb5\x2f\xfd" + os.urandom(200), "tar cut in a header": GOOD[:700], "tar cut in a file": GOOD[:3000],
    "checksum": GOOD[:148] + b"0000000\0" + GOOD[156:], "random": os.urandom(20000), "magic only": bytes(257) + b"ustar\0" + bytes(249),
    "size too large": GOOD[:124] + b"77777777777\0" + GOOD[136:],
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_no_layer(unpack, name):
    result = unpack(FORMATS[name])
    assert result.code == 1 or name in ("zeros", "iso"), result.report
    assert result.code == 0 or result.error


def zeros(total):
    """A gzip of zeros without holding them: members may follow each other."""
    one = gzip.compress(bytes(64 << 20))
    return one * (total // (64 << 20))


BOMBS = {
    "gzip of zeros after the end": lambda: gzip.compress(oci.tar(e("a"))) + zeros(20 << 30)[:300 << 20],
    "a file of zeros": lambda: oci.zstd(oci.tar(e("a", bytes(300 << 20)))),
    "a directory chain": lambda: oci.tar(*[oci.directory("d/" * i) for i in range(1, 140)]),
    "size of the moon": lambda: oci.tar(e("a"))[:124] + b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7 + oci.tar(e("a"))[136:],
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(unpack, name):
    result = unpack(BOMBS[name]())
    assert result.code == 1, result.report


def test_many_names_cost_no_memory(unpack):
    data = oci.zstd(b"".join(oci.tar(e(f"{i:07}", b""))[:512] for i in range(30000)) + bytes(1024))
    assert unpack(data).report["entries"] == 30000


def test_sparse_files_count_as_what_they_seem(unpack):
    """Old GNU sparse: 40 TiB of nothing, one block long."""
    info = tarfile.TarInfo("s")
    info.type = b"S"
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:386 + 24] = b"00000000000\0" b"00000000000\0"
    block[483:495] = b"\x80" + (40 << 40).to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:155] = b"%06o\0" % sum(block)
    result = unpack(bytes(block) + bytes(1024))
    assert result.code == 1, result.report


def test_an_ordinary_archive_is_told_exactly(unpack):
    packed = gzip.compress(GOOD)
    result = unpack(packed)
    assert result.report == {"digest": oci.digest(packed), "diff_id": oci.digest(GOOD), "size": len(packed), "bytes": 5001, "entries": 2,
                             "left_out": 0}


def test_bytes_after_the_archive_are_part_of_both_digests(unpack):
    packed = gzip.compress(GOOD + b"tail" * 100) + b""
    result = unpack(packed)
    assert result.report["diff_id"] == oci.digest(GOOD + b"tail" * 100) and result.report["digest"] == oci.digest(packed)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_each_format(unpack, format):
    name = "d" * 60 + "/" + "f" * 90
    assert name in unpack(oci.tar(e(name), format=format)).files()


def test_it_can_do_nothing_else(tmp_path):
    """The sandbox from inside: what /proc says of a teal-unpack that waits for its archive."""
    tree = tmp_path / "tree"
    tree.mkdir()
    reader, writer = os.pipe()
    directory = os.open(tree, os.O_RDONLY)
    high = os.dup2(directory, 200, inheritable=False)
    process = subprocess.Popen([BUILD / "teal-unpack"], stdin=reader, stdout=subprocess.PIPE, close_fds=False,
                               preexec_fn=lambda: os.dup2(high, 3, inheritable=True))
    try:
        from wait import wait_for
        proc = pathlib.Path(f"/proc/{process.pid}")
        status = wait_for(lambda: (s := dict(l.split(":\t") for l in (proc / "status").read_text().splitlines() if ":\t" in l))
                          and s["NoNewPrivs"] == "1" and int(s["Threads"]) == 2 and s, 10, "its thread runs")
        assert status["Uid"].split()[0] == str(0x70000000), status["Uid"]
        assert os.readlink(proc / "ns/net") != os.readlink("/proc/self/ns/net")
        assert os.readlink(proc / "ns/user") != os.readlink("/proc/self/ns/user")
        if not SANITIZED:
            assert status["Seccomp"] == "2"
        assert int(status["CapEff"], 16) == 0x8000001b  # chown, dac_override, fowner, fsetid, setfcap
    finally:
        os.close(writer)
        os.close(reader)
        process.wait(10)
        os.close(high)
        os.close(directory)
