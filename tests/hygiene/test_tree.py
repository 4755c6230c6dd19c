"""Rules for the text of the tree: calls with a safer form, leftovers, sizes."""
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RISKY = re.compile(
    r"\b(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atof|system|popen|mktemp|tmpnam|alloca|strtok)\s*\("
)
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
COMMENT = re.compile(r"//.*|/\*.*?\*/|\"(\\.|[^\"\\])*\"")
MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 550
TABLES = {"config/schema.c": 1000}  # one table, a row for every key of a spec: splitting it would hide it


def code_files(*roots):
    for root in roots:
        for path in sorted((ROOT / root).rglob("*.[ch]")):
            yield str(path.relative_to(ROOT)), path.read_text().splitlines()


ROOMS = ("base", "config", "runtime", "health", "proxy", "agent")


def fail_with(found):
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def test_no_risky_calls():
    fail_with(
        [
            f"{path}:{n}: {line.strip()}"
            for path, lines in code_files(*ROOMS, "examples")
            for n, line in enumerate(lines, 1)
            if RISKY.search(COMMENT.sub("", line)) and not line.lstrip().startswith("*")
        ]
    )


def test_nothing_is_left_to_do_by_its_own_words():
    tracked = subprocess.run(
        ["git", "ls-files", "*.c", "*.h", "*.py", "*.sh", "*.mk", "Makefile"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()
    fail_with(
        [
            f"{path}:{n}: {line.strip()}"
            for path in tracked
            if path != "tests/hygiene/test_tree.py" and (ROOT / path).exists()
            for n, line in enumerate((ROOT / path).read_text().splitlines(), 1)
            if LEFTOVER.search(line)
        ]
    )


def test_files_tell_one_story():
    fail_with(
        [
            f"{path}: {len(lines)} lines, at most {TABLES.get(path, MAX_FILE_LINES)}"
            for path, lines in code_files(*ROOMS, "examples")
            if len(lines) > TABLES.get(path, MAX_FILE_LINES)
        ]
    )


def test_functions_fit_a_screen():
    found = []
    for path, lines in code_files(*ROOMS, "examples"):
        start = None
        for n, line in enumerate(lines, 1):
            if line == "{":
                start = n
            elif line.startswith("}") and start:
                if n - start > MAX_FUNCTION_LINES:
                    found.append(f"{path}:{start}: {n - start} lines, at most {MAX_FUNCTION_LINES}")
                start = None
    fail_with(found)


def test_headers_say_what_they_are_for():
    fail_with([f"{path}: opens without a comment" for path, lines in code_files(*ROOMS)
               if path.endswith(".h") and not lines[0].startswith("/*")])


def test_system_tests_wait_for_events():
    """A sleep hopes. tests/system/wait.py has the one place that may: polling with a deadline."""
    fail_with(
        [
            f"{path.relative_to(ROOT)}:{n}: {line.strip()}"
            for path in sorted((ROOT / "tests" / "system").glob("*.py"))
            if path.name != "wait.py"
            for n, line in enumerate(path.read_text().splitlines(), 1)
            if re.search(r"\btime\.sleep\(", line)
        ]
    )
