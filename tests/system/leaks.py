"""What an agent has on this host: looked up from the outside, by the agent's directory and its tag, not by asking it."""
import json
import os
import pathlib
import subprocess

CGROUPS = pathlib.Path("/sys/fs/cgroup")


def cgroups(tag):
    """Control groups of this agent, in every hierarchy (v1 and v2)."""
    found = []
    for top, names, _ in os.walk(CGROUPS):
        found += [f"{top}/{name}" for name in names if tag in f"{top}/{name}"]
        if top.count("/") > 8:
            names.clear()
    return found


def mounts(root, tag):
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(root) in line or tag in line]


def links(tag):
    shown = subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout
    return [link["ifname"] for link in json.loads(shown) if tag in link["ifname"]]


def named_namespaces(tag):
    folder = pathlib.Path("/run/netns")
    return [name for name in os.listdir(folder) if tag in name] if folder.is_dir() else []


def nft_tables(tag):
    shown = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, text=True, check=True).stdout
    rows = json.loads(shown)["nftables"]
    return [row["table"]["name"] for row in rows if "table" in row and tag in row["table"]["name"]]


def run_files(root):
    """Sockets and temporary files that an agent and its proxy should have taken with them."""
    return [str(p) for p in (root / "run").rglob("*") if p.is_socket()] if (root / "run").is_dir() else []


def container_files(root):
    """Bundles, root file systems and half-made images."""
    state = root / "state"
    found = [p for name in ("containers", "tmp") for p in (state / name).glob("*")]
    return [str(p) for p in found]


def of_agent(root, tag):
    """{kind: what is there} for the kinds of which something is there."""
    kinds = {
        "cgroups": cgroups(tag),
        "mounts": mounts(root, tag),
        "links": links(tag),
        "network namespaces": named_namespaces(tag),
        "nft tables": nft_tables(tag),
        "sockets": run_files(root),
        "container files": container_files(root),
    }
    return {kind: found for kind, found in kinds.items() if found}
