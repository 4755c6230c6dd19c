#!/usr/bin/python3
"""teal-proxy beside HAProxy, nginx and no proxy: interleaved rounds, medians, ratios, CPU per unit of work.

TEAL_BENCH_ROUNDS (5), TEAL_BENCH_SECONDS (3), TEAL_BENCH_ONLY (works) and TEAL_BENCH_RIVALS (both comma separated)
make it shorter.
"""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import netns
import proxies

ROUNDS = int(os.environ.get("TEAL_BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("TEAL_BENCH_SECONDS", "3"))
IDLE = 5000
HERE = pathlib.Path(__file__).resolve().parent
UNIT = {"": 1, "k": 1e3, "M": 1e6, "us": 1e-3, "ms": 1, "s": 1e3}

HTTPD = """daemon off;
worker_processes 2;
worker_rlimit_nofile 20000;
pid {dir}/httpd.pid;
error_log {dir}/httpd.log;
events {{ worker_connections 9000; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  server {{ listen {address} reuseport backlog=4096; return 200 "hello from behind the proxy\\n"; }}
}}
"""


def bulk(row, proxy, streams):
    """Gbit/s from client to server."""
    address, port = proxy.address("bulk")
    out = row.run(row.client, "iperf3", "-c", address, "-p", str(port), "-t", str(SECONDS), "-P", str(streams), "-J")
    received = json.loads(out.stdout)["end"]["sum_received"]
    return {"value": received["bits_per_second"] / 1e9, "units": received["bytes"] / 1e9}


def requests(row, proxy, clients, *headers):
    """Requests a second, from wrk."""
    address, port = proxy.address("http")
    extra = [word for header in headers for word in ("-H", header)]
    out = row.run(row.client, "wrk", "-t1", f"-c{clients}", f"-d{SECONDS}s", "--latency", *extra,
                  f"http://{address}:{port}/").stdout
    if "Socket errors" in out or "Non-2xx" in out:
        print(f"{proxy.name}: {out}", file=sys.stderr)
    number, unit = re.search(r"99%\s+([\d.]+)(\w*)", out).groups()
    total = int(re.search(r"(\d+) requests in", out).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    return {"value": rate, "units": total / 1e3, "p99_ms": float(number) * UNIT[unit]}


WORKS = {
    "bulk-1": ("one stream, Gbit/s", "GB", 1.7, lambda row, p: bulk(row, p, 1)),
    "bulk-16": ("16 streams, Gbit/s", "GB", 1.7, lambda row, p: bulk(row, p, 16)),
    "kept-32": ("kept, 32 clients, requests/s", "1k", 1.0, lambda row, p: requests(row, p, 32)),
    "kept-512": ("kept, 512 clients, requests/s", "1k", 1.0, lambda row, p: requests(row, p, 512)),
    "new": ("new connections/s", "1k", 1.0, lambda row, p: requests(row, p, 32, "Connection: close")),
}


def measure(row, proxy, work):
    before = proxy.cpu()
    result = work(row, proxy)
    if before is not None:
        result["cpu_ms"] = (proxy.cpu() - before) * 1e3 / result["units"]
    return result


def run_works(row, rivals, names):
    results = {name: {p.name: [] for p in rivals} for name in names}
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        for name in names:
            for proxy in rivals:
                results[name][proxy.name].append(measure(row, proxy, WORKS[name][3]))
                time.sleep(0.2)
    return results


def median(samples, key):
    values = [s[key] for s in samples if key in s]
    return statistics.median(values) if values else None


def ratio(value, base):
    return value / base if base else None


def cell(value, digits=2):
    return "-" if value is None else f"{value:,.{digits}f}"


def print_works(results):
    print(f"{'work':32}{'':8}{'median':>12}{'x HAProxy':>11}{'x direct':>10}{'CPU ms/unit':>13}{'p99 ms':>9}")
    for name, by_proxy in results.items():
        title, unit, bar, _ = WORKS[name]
        base, limit = (median(by_proxy.get(who, []), "value") for who in ("HAProxy", "direct"))
        for who, samples in by_proxy.items():
            value = median(samples, "value")
            cpu = median(samples, "cpu_ms")
            verdict = "" if who != "teal" or not base else f"  bar {bar}: {'met' if value >= bar * base else 'MISSED'}"
            print(f"{title:32}{who:8}{cell(value):>12}{cell(ratio(value, base)):>11}{cell(ratio(value, limit)):>10}"
                  f"{(cell(cpu) + '/' + unit if cpu else '-'):>13}{cell(median(samples, 'p99_ms')):>9}{verdict}")
            title = ""


def measure_idle(row, proxy):
    """Bytes of user-space memory for each of IDLE connections that are open and silent."""
    address, port = proxy.address("idle")
    before = proxy.memory()
    holder = row.start(row.client, "/usr/bin/python3", HERE / "hold.py", address, str(port), str(IDLE),
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    word = holder.stdout.readline().strip()
    memory = proxy.memory() - before
    holder.stdin.close()
    holder.wait(30)
    return memory / IDLE if word == "held" else None


def print_idle(row, rivals):
    print(f"\nuser-space memory for each of {IDLE} idle connections")
    for proxy in rivals:
        if proxy.name == "direct":
            continue
        size = measure_idle(row, proxy)
        verdict = "" if proxy.name != "teal" or size is None else f"  bar 1500: {'met' if size <= 1500 else 'MISSED'}"
        print(f"{proxy.name:8}{cell(size, 0):>8} B{verdict}")


def start_servers(row, directory):
    address = f"{netns.SERVER_MIDDLE}:{proxies.SERVERS['http']}"
    config = pathlib.Path(directory) / "httpd.conf"
    config.write_text(HTTPD.format(dir=directory, address=address))
    return [
        row.start(row.server, "iperf3", "-s", "-p", str(proxies.SERVERS["bulk"]), stdout=subprocess.DEVNULL,
                  stderr=subprocess.DEVNULL),
        row.start(row.server, "nginx", "-p", directory, "-c", config),
        row.start(row.server, "/usr/bin/python3", HERE / "sink.py", str(proxies.SERVERS["idle"])),
    ]


def run(row, directory, rivals, names):
    servers = start_servers(row, directory)
    try:
        for server in proxies.SERVERS:
            proxies.wait_open(row, (netns.SERVER_MIDDLE, proxies.SERVERS[server]))
        for proxy in rivals:
            proxy.start()
        for proxy in rivals:
            proxies.wait_open(row, proxy.address("http"))
        if "idle" in names: # first, while nobody has memory left over from other work
            print_idle(row, rivals)
        works = [name for name in names if name in WORKS]
        print_works(run_works(row, rivals, works))
    finally:
        for proxy in rivals:
            if proxy.process:
                proxy.stop()
        for server in servers:
            server.terminate()
            server.wait(10)


def main():
    if os.geteuid() != 0:
        sys.exit("bench_proxy: network namespaces need root")
    wanted = os.environ.get("TEAL_BENCH_RIVALS", ",".join(kind.name for kind in proxies.KINDS)).split(",")
    names = os.environ.get("TEAL_BENCH_ONLY", ",".join(["idle", *WORKS])).split(",")
    with tempfile.TemporaryDirectory(prefix="teal-bench-") as directory, netns.Row() as row:
        kinds = [kind for kind in proxies.KINDS if kind.name in wanted]
        run(row, directory, [kind(row, directory, 6000 + 100 * i) for i, kind in enumerate(kinds)], names)


if __name__ == "__main__":
    main()
