"""Who may include whom: base < config < {runtime, health, proxy} < agent. The middle three never meet."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
RANK = {"base": 0, "config": 1, "runtime": 2, "health": 2, "proxy": 2, "agent": 3}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def upward_or_sideways(path, lines):
    """The includes of one file that go up or sideways. A path without a folder is the file's own folder."""
    room = path.split("/")[0]
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        other = found.group(1).split("/")[0]
        if other in RANK and other != room and RANK[other] >= RANK[room]:
            yield f"{path}:{number}: {line.strip()}"


def sources():
    for room in RANK:
        for path in sorted((ROOT / room).rglob("*.[ch]")):
            yield str(path.relative_to(ROOT)), path.read_text().splitlines()


def test_no_include_goes_up_or_sideways():
    found = [fault for path, lines in sources() for fault in upward_or_sideways(path, lines)]
    assert not found, "\n".join(found)


def test_the_rule_itself_sees_each_direction():
    assert list(upward_or_sideways("base/x.c", ['#include "config/spec.h"']))
    assert list(upward_or_sideways("health/x.c", ['#include "proxy/client.h"']))
    assert list(upward_or_sideways("runtime/native/x.c", ['#include "agent/agent.h"']))
    assert not list(upward_or_sideways("agent/x.c", ['#include "proxy/client.h"']))
    assert not list(upward_or_sideways("proxy/x.c", ['#include "proxy/client.h"', '#include "base/err.h"']))


def test_includes_start_at_the_root_of_the_tree():
    found = [
        f"{path}: {line.strip()}"
        for path, lines in sources()
        for line in lines
        if (match := INCLUDE.match(line)) and not (ROOT / match.group(1)).exists()
    ]
    assert not found, "\n".join(found)


def test_each_library_is_visible_in_few_files():
    """A library that spreads is a library that can't be replaced. uv.h is the loop and may be anywhere."""
    allowed = {
        "yaml.h": ("config/",),
        "seccomp.h": ("runtime/native/", "runtime/image/unpack/", "proxy/"),
        "netlink/": ("runtime/native/",),
        "curl/": ("health/", "agent/cli/", "runtime/"),
        "microhttpd.h": ("agent/http",),
        "sqlite3.h": ("agent/store",),
        "archive.h": ("runtime/image/",),
        "openssl/": ("base/digest", "runtime/image/"),
        "libsmartcols/": ("agent/cli/",),
        "sys/capability.h": ("runtime/native/", "runtime/image/unpack/", "proxy/"),
    }
    found = []
    for path, lines in sources():
        for line in lines:
            match = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
            for header, places in allowed.items():
                if match and match.group(1).startswith(header) and not path.startswith(places):
                    found.append(f"{path}: {line.strip()} belongs into {' or '.join(places)}")
    assert not found, "\n".join(found)
