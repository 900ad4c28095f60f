"""Does `forktrace doctor` say what a run then does? Asked on hosts of every kind; for a guest, as it changes the host.

    ./run guest 6.12 'python3 tests/vm/doctor_agrees.py'
    ./run guest --append lockdown=confidentiality newest 'python3 tests/vm/doctor_agrees.py root bpf,netlink,strace'

The first word narrows the hosts to those whose names contain it, the second names the backends to ask for.

Of each host below: every backend that doctor calls ready runs, and no other; the trace has the facts that doctor
promised; the backend that doctor names is the one taken; and what doctor gives as a command to fix a
feature fixes it. One line for each question; status 1 if any answer differs. Root only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
NOBODY: Final = 65534
_TIMEOUT_S: Final = 300  # bcc compiles its programs, on an emulated processor
_COMMANDS: Final = ("mount ", "sysctl ")
_EVERYTHING: Final = ("--cow-stacks", "-e", "fail", "--reap", "exact")


class Situation(NamedTuple):
    """A host as it is made, and as whom forktrace then runs."""

    name: str
    made: Callable[[], AbstractContextManager[object]] = nullcontext
    through: Sequence[str] = ()


@contextmanager
def types(content: bytes | None) -> Iterator[None]:
    """/sys/kernel/btf with this in place of the kernel's types, or with nothing."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/sys/kernel/btf"], check=True)
    try:
        if content is not None:
            Path("/sys/kernel/btf/vmlinux").write_bytes(content)
        yield
    finally:
        subprocess.run(["umount", "/sys/kernel/btf"], check=True)


def set_to(name: str, value: str) -> None:
    """A setting below /proc/sys, where this kernel has it."""
    path = Path("/proc/sys") / name
    if path.exists():
        path.write_text(value)


@contextmanager
def strict() -> Iterator[None]:
    """All that a careful administrator may forbid, short of what cannot be taken back."""
    names = ("kernel/unprivileged_bpf_disabled", "kernel/perf_event_paranoid", "kernel/yama/ptrace_scope")
    paths = [path for path in (Path("/proc/sys") / name for name in names) if path.exists()]
    before = [path.read_text() for path in paths]
    set_to(names[0], "2")
    set_to(names[1], "4")
    set_to(names[2], "2")
    subprocess.run(["mount", "-o", "remount,hidepid=2", "/proc"], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,hidepid=0", "/proc"], check=True)
        for path, text in zip(paths, before, strict=True):
            path.write_text(text)


@contextmanager
def no_ptrace() -> Iterator[None]:
    """For good: nothing but a boot takes it back."""
    set_to("kernel/yama/ptrace_scope", "3")
    yield


def nobody(*capabilities: str) -> list[str]:
    """The command that runs another as nobody, with these capabilities alone."""
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all"]
    if capabilities:
        some = ",".join(f"+{name}" for name in capabilities)
        words = [*words[:-1], f"--inh-caps={some}", f"--ambient-caps={some}"]
    return words


def situations() -> list[Situation]:
    """From the plain to what cannot be taken back."""
    vmlinux = Path("/sys/kernel/btf/vmlinux")
    whole = vmlinux.read_bytes() if vmlinux.exists() else b""
    two = nobody("bpf", "perfmon")
    return [
        Situation("root"),
        Situation("root, strict settings", strict),
        Situation("nobody", through=nobody()),
        Situation("nobody with CAP_BPF and CAP_PERFMON", through=two),
        Situation("nobody with CAP_BPF and CAP_PERFMON, strict settings", strict, two),
        Situation("nobody with CAP_BPF alone", through=nobody("bpf")),
        Situation("root without BTF", lambda: types(None)),
        Situation("root with BTF cut short", lambda: types(whole[: len(whole) // 2])),
        Situation("root with BTF of another format", lambda: types(b"\x9f\xeb\x07" + whole[3:])),
        Situation("root, kernel.yama.ptrace_scope = 3", no_ptrace),
    ]


class Judge:
    """Asks and compares in one situation. `said`: what differs."""

    def __init__(self, situation: Situation, folder: Path, backends: Sequence[str] = ()) -> None:
        self.situation = situation
        self.backends = backends
        self.folder = folder
        self.said: list[str] = []

    def forktrace(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*self.situation.through, sys.executable, "-m", "tracer", *words]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )

    def doctor(self) -> dict[str, Any]:
        done = self.forktrace("doctor", "--json")
        if not done.stdout:
            self.differs("doctor", f"status {done.returncode}: {done.stderr.strip()[-300:]}")
            return {"chosen": None, "backends": [], "features": [], "programs": []}
        found: dict[str, Any] = json.loads(done.stdout)
        self.compare("doctor's status", 0 if found["chosen"] else 70, done.returncode)
        return found

    def compare(self, what: str, promised: object, seen: object) -> None:
        if promised == seen:
            print(f"agrees   {self.situation.name}: {what}: {promised}", flush=True)
        else:
            self.differs(what, f"doctor says {promised}, a run {seen}")

    def differs(self, what: str, words: str) -> None:
        self.said.append(f"{self.situation.name}: {what}: {words}")
        print(f"DIFFERS  {self.said[-1]}", flush=True)

    def trace(self, *words: str) -> tuple[subprocess.CompletedProcess[str], Any]:
        """A run of `true`, and its Meta; None where there is no trace."""
        import tracer

        path = self.folder / "x.ftrace"
        path.unlink(missing_ok=True)
        done = self.forktrace(*words, "-o", str(path), "--", "true")
        return done, tracer.load(str(path)).meta if done.returncode == 0 and path.exists() else None

    def all(self, *, fixes: bool = True) -> None:
        """Every question. `fixes`: what doctor advises is done, too."""
        found = self.doctor()
        for backend in found["backends"]:
            if not self.backends or backend["name"] in self.backends:
                self.backend(backend)
        self.chosen(found["chosen"], [backend["name"] for backend in found["backends"] if backend["ok"]])
        if fixes:
            self.fixes(found["features"])

    def backend(self, promised: dict[str, Any]) -> None:
        name = promised["name"]
        if name == "bcc" and promised["ok"] and self.situation.name != "root":
            return  # it compiles its programs anew each time: half a minute under emulation
        done, meta = self.trace("--backend", name)
        why = "" if done.returncode == 0 else f" ({done.stderr.strip().splitlines()[-1][:300]})"
        if bool(promised["ok"]) != (done.returncode == 0):
            self.differs(name, f"doctor: {promised['ok']} ({promised['why']}); a run: status {done.returncode}{why}")
            return
        said = "ready" if promised["ok"] else f"{promised['why']}{why}"
        print(f"agrees   {self.situation.name}: {name}: {said}", flush=True)
        if "Traceback" in done.stderr:
            self.differs(name, f"a traceback: {done.stderr[-500:]}")
        if meta is None:
            return
        self.compare(f"{name}, facts", sorted(promised["sees"]), sorted(meta.facts))
        if name == "bpf" and self.situation.made is nullcontext:
            more = {fact for fact, option in promised["sees_with"].items() if option in ("--cow-stacks", "-e fail")}
            done, meta = self.trace("--backend", name, *_EVERYTHING)
            seen = [] if meta is None else sorted(meta.facts)
            self.compare(f"{name} with all options, facts", sorted(more.union(promised["sees"])), seen)

    def chosen(self, promised: str | None, ready: Sequence[str]) -> None:
        """`ready`: none of these may be given up for another, with a warning."""
        done, meta = self.trace()
        if promised is not None and meta is None:
            words = f"doctor says {promised}; status {done.returncode}: {done.stderr.strip()[-300:]}"
            self.differs("the backend that is taken", words)
            return
        self.compare("the backend that is taken", promised, None if meta is None else meta.source)
        if any(f"WARNING: {name}:" in done.stderr for name in ready):
            self.differs("the backend that is taken", done.stderr.strip()[:300])

    def fixes(self, features: Sequence[dict[str, Any]]) -> None:
        """What is given as a command is run, and the feature asked for again."""
        for feature in features:
            command = feature["mend"] or ""
            if feature["ok"] or not command.startswith(_COMMANDS):
                continue
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            again = next(each for each in self.doctor()["features"] if each["name"] == feature["name"])
            if done.returncode or not again["ok"]:
                self.differs(feature["name"], f"`{command}` does not fix it: {done.stderr.strip()} {again['detail']}")
            else:
                print(f"agrees   {self.situation.name}: {feature['name']}: fixed by `{command}`", flush=True)
            if command.startswith("sysctl "):
                name, _, _ = command.split()[1].partition("=")
                set_to(name.replace(".", "/"), "0")


def main() -> int:
    """1 if anything differs."""
    sys.path.insert(0, str(ROOT))
    word, backends = [*sys.argv[1:], "", ""][:2]
    said: list[str] = []
    for situation in situations():
        if word not in situation.name:
            continue
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            Path(folder).chmod(0o777)
            stack.enter_context(situation.made())
            judge = Judge(situation, Path(folder), backends.split(",") if backends else ())
            judge.all()
            said += judge.said
    print(f"doctor_agrees: {len(said)} differ" if said else "doctor_agrees: all agree")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
