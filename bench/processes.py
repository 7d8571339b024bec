"""What the benches start and ask: Mosquitto, Forewarn, and how much they took.

In: a binary and a working folder. Out: processes that listen, their metrics and memory. Promise: whoever starts something
here ends it by its process id with `end_all`. Never: a fixed port.
"""

import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
started = []


def binary_of(given, profile="release"):
    """The binary that was named, or that of a profile."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = given or target / profile / "forewarn"
    if not binary.exists():
        sys.exit(f"{binary} is not there: cargo build{' --release' if profile == 'release' else ''}")
    return binary


def start(command, **settings):
    settings = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **settings}
    process = subprocess.Popen([str(part) for part in command], **settings)
    started.append(process)
    return process


def end(process, patience=40):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process in started:
        started.remove(process)


def end_all():
    for process in reversed(list(started)):
        end(process)


def until(what, ask, patience=60.0, pause=0.05):
    deadline = time.monotonic() + patience
    while True:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:.0f} s for {what}")
        time.sleep(pause)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cpu_seconds(process):
    """User and system time of a process that still runs."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mib(process, which):
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) / 1024
    return 0.0


class Mosquitto:
    def __init__(self, work):
        self.port = free_port()
        config = work / f"mosquitto-{self.port}.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
            "max_inflight_messages 1000\nset_tcp_nodelay true\n"
        )
        self.process = start([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", config])
        until("Mosquitto to listen", lambda: listens(self.port))
        self.url = f"mqtt://127.0.0.1:{self.port}"


class Forewarn:
    """A server of its own with `--dev`; `settings` are environment variables beside those that are there."""

    def __init__(self, binary, work, broker=None, settings=None):
        self.data = Path(tempfile.mkdtemp(prefix="data-", dir=work))
        self.port = free_port()
        command = [binary, "serve", "--dev", "--data", self.data, "--mqtt", f"127.0.0.1:{self.port}"]
        command += ["--http", "127.0.0.1:0", "--pg", "127.0.0.1:0", "--flight", "127.0.0.1:0"]
        command += ["--broker", broker] if broker else []
        self.log = open(self.data / "stderr.txt", "w")
        self.process = start(command, stderr=self.log, env={**os.environ, **(settings or {})})
        self.url = f"mqtt://127.0.0.1:{self.port}"
        addresses = self.data / "dev/addresses.json"
        until("Forewarn to listen", lambda: addresses.exists() and listens(self.port))
        self.http = json.loads(addresses.read_text())["http"]

    def metric(self, name, label=""):
        """The sum over all series of that name whose labels have `label` in them."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        named = [line for line in lines if line.split("{")[0].split(" ")[0] == name and label in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in named)

    def ask(self, sql):
        """The rows of an answer, as objects."""
        token = (self.data / "dev/admin.token").read_text().strip()
        headers = {"authorization": f"Bearer {token}", "accept": "application/json", "content-type": "application/json"}
        body = json.dumps({"query": sql}).encode()
        request = urllib.request.Request(f"http://{self.http}/v1/sql", body, headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            told = json.load(answer)
        names = [column["name"] for column in told["columns"]]
        return [dict(zip(names, row)) for row in told["rows"]]

    def progress(self):
        request = urllib.request.Request(f"http://{self.http}/health/ready")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def settle(self, durable, patience=300):
        """Until all that is durable is committed and looked at; returns the seconds that took."""
        began = time.monotonic()

        def done():
            told = self.progress()["progress"]
            behind = [told[key] for key in ("decoded", "committed", "detected") if told.get(key) is not None]
            return told["durable"] >= durable and min(behind) >= told["durable"]

        until("the pipeline to settle", done, patience, 0.1)
        return time.monotonic() - began


def paho_path():
    """The folder of paho-mqtt 2, fetched once; none where it cannot be had."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "forewarn-bench-paho"
    if not (folder / "paho").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "paho-mqtt==2.1.0"]
        if subprocess.run([str(part) for part in command]).returncode != 0:
            print("sqlite: left out, paho-mqtt cannot be had", file=sys.stderr)
            return None
    return str(folder)


# -- what is told ---------------------------------------------------------------------------------------------------


def machine(binary):
    """Day, machine, commit and profile, for the head of a table."""
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor())
    total = int(Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    commit = output(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]) or "no commit"
    # Pages change no measurement, and scripts write them.
    status = ["git", "-C", ROOT, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!*.md"]
    changed = " and changes" if output(status) else ""
    profile = "release" if "release" in binary.parts else "dev profile, not release"
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores {model}, {total:.0f} GiB, Linux {platform.release()}, "
        f"commit {commit}{changed}, {profile}"
    )


def output(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def sync_ms():
    with tempfile.TemporaryFile(dir=tempfile.gettempdir()) as file:
        times = []
        for _ in range(200):
            file.write(b"x" * 65536)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def number(value, digits=3, none=""):
    """For a table; what is not defined has a word of its own."""
    return none if value is None else f"{value:.{digits}f}"


def write(name, text, page="docs/benchmarks.md"):
    """Puts a table into its place in a page; `name` is the script's, and the table's where it has several."""
    page = ROOT / page
    begin, finish = f"<!-- bench/{name}: written by bench/{name.split()[0]} --write -->\n", f"<!-- bench/{name}: end -->"
    head, rest = page.read_text().split(begin, 1)
    page.write_text(head + begin + text + finish + rest.split(finish, 1)[1])
