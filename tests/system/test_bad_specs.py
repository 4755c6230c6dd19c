"""A thousand broken specs: no crash, always a place in the file, never slow."""
import random
import re
import resource
import subprocess

import pytest

from agent import BUILD, SANITIZED, TREE

PLACED = re.compile(r"^(?P<file>[^:\n]+):\d+:\d+: error: ", re.M)
CARET = re.compile(r"^[ |0-9]*\^", re.M)
LIMIT_S = 0.5 if SANITIZED else 0.05
COUNT = 200 if SANITIZED else 1000

pytestmark = pytest.mark.sanitized

HAND_MADE = {
    "empty": "",
    "not a mapping": "- a\n- b\n",
    "a scalar": "hello\n",
    "unknown key": "name: a\nimage: rootfs:/x\nprots: []\n",
    "duplicate key": "name: a\nname: b\nimage: rootfs:/x\n",
    "tab": "name: a\n\timage: rootfs:/x\n",
    "open bracket": "name: [a\n",
    "open quote": 'name: "a\nimage: x\n',
    "alias": "name: &a x\nimage: *a\n",
    "billion laughs": "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n",
    "deep": "name: " + "[" * 40000,
    "two documents": "name: a\nimage: rootfs:/x\n---\nname: b\n",
    "too big": "name: a\nimage: rootfs:/x\nx-filler: " + "y" * 300000 + "\n",
    "control characters": "name: a\x01b\n",
    "not UTF-8": b"name: a\xff\xfe\n",
    "NUL": b"name: a\0b\n",
    "wrong type": "name: {a: b}\nimage: [1]\nports: 7\ndeploy: []\n",
    "bad values": "name: A_B\nimage: rootfs:/x\nports: ['99999:1', 'x:y', '1:2:3:4:5']\nhealthcheck: {http: {}, tcp: {}, interval: -1s}\n",
    "no name": "image: rootfs:/x\n",
    "merge key": "x-a: &a {b: 1}\nname: a\nimage: rootfs:/x\n<<: *a\n",
    "huge number": "name: a\nimage: rootfs:/x\ndeploy: {replicas: 99999999999999999999}\n",
}
PIECES = [b":", b"- ", b"  ", b"\t", b"{", b"}", b"[", b"]", b'"', b"'", b"&a ", b"*a", b"!!int ", b"|", b"\n", b"\xff", b"\0", b"-1", b"1e999", b"99999999999999999999"]


def validate(path):
    """(exit code, what it said, CPU seconds): CPU, since the machine does other things as well."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run([BUILD / "teal", "validate", path], capture_output=True, timeout=20)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ran.returncode, ran.stderr.decode(errors="replace"), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("text", HAND_MADE.values(), ids=HAND_MADE.keys())
def test_hand_made(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    code, said, took = validate(path)
    assert code == 65, said
    assert PLACED.search(said)["file"] == str(path), said
    assert took <= LIMIT_S


def test_a_fault_shows_its_line_and_a_caret(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(HAND_MADE["unknown key"])
    _, said, _ = validate(path)
    assert f"{path}:3:1: error:" in said and "prots: []" in said and CARET.search(said) and "ports" in said


def broken(good, seed):
    """A good spec with a few bytes, pieces or whole lines of it changed."""
    chance = random.Random(seed)
    text = bytearray(good)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(text) or 1)
        how = chance.randrange(5)
        if how == 0:
            del text[at:at + chance.randint(1, 40)]
        elif how == 1:
            text[at:at] = chance.choice(PIECES) * chance.choice([1, 1, 1, 50])
        elif how == 2:
            text[at:at + 1] = bytes([chance.randrange(256)])
        elif how == 3:
            lines = text.split(b"\n")
            chance.shuffle(lines)
            text = bytearray(b"\n".join(lines))
        else:
            lines = text.split(b"\n")
            lines.insert(chance.randrange(len(lines)), chance.choice(lines))
            text = bytearray(b"\n".join(lines))
    return bytes(text)


def test_a_thousand_mutations(tmp_path):
    good = (TREE / "examples/every-key.yaml").read_bytes()
    (tmp_path / "every-key.env").write_bytes((TREE / "examples/every-key.env").read_bytes())
    path = tmp_path / "bad.yaml"
    faulty, slowest = 0, 0.0
    for seed in range(COUNT):
        path.write_bytes(broken(good, seed))
        code, said, took = validate(path)
        slowest = max(slowest, took)
        assert code in (0, 65), f"seed {seed}: exit {code}: {said}"
        if code == 65:
            faulty += 1
            assert PLACED.search(said), f"seed {seed}: {said}"
    print(f"{faulty} of {COUNT} had faults; the slowest took {slowest * 1000:.1f} ms of CPU")
    assert faulty > COUNT / 2 and slowest <= LIMIT_S
