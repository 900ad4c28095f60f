"""As whom the program runs and its outputs are written. Tests with `account` make a user: root and sudo."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import need
from tests.terminals import DEADLINE_S, Shell
from tracer.capture import sudo_caller
from tracer.capture.privileges import Identity, caller_identity, open_output, user_identity
from tracer.errors import CannotWriteError, NoPermissionError, UsageError

DRIVER = [sys.executable, str(Path(__file__).parents[1] / "programs" / "hold_release.py")]
pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def account() -> Iterator[pwd.struct_passwd]:
    """A throw-away user in a second group of its own, who may call sudo without a password."""
    need("root", "sudo", "useradd")
    name = f"ftrace{os.getpid()}"
    rule = Path(f"/etc/sudoers.d/{name}")
    subprocess.run(["groupadd", f"{name}x"], check=True)
    try:
        subprocess.run(["useradd", "-m", "-G", f"{name}x", "-s", "/bin/sh", name], check=True)
        rule.write_text(f"{name} ALL=(ALL) NOPASSWD: ALL\n")
        rule.chmod(0o440)
        yield pwd.getpwnam(name)
    finally:
        rule.unlink(missing_ok=True)
        subprocess.run(["userdel", "-r", name], check=False, capture_output=True)
        subprocess.run(["groupdel", f"{name}x"], check=False, capture_output=True)


def sudo(
    account: pwd.struct_passwd, *argv: str, options: Sequence[str] = (), prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """The driver on `argv`, through sudo, called by that user."""
    return subprocess.run(
        ["sudo", "-n", *prefix, *DRIVER, *options, "--", *argv],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        cwd=account.pw_dir,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def fields(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_under_sudo_the_program_is_the_callers(account: pwd.struct_passwd) -> None:
    done = sudo(account, "cat", "/proc/self/status")
    said = fields(done.stdout)
    second = {str(g) for g in os.getgrouplist(account.pw_name, account.pw_gid)}

    assert said["Uid"].split() == [str(account.pw_uid)] * 4
    assert said["Gid"].split() == [str(account.pw_gid)] * 4
    assert set(said["Groups"].split()) == second
    assert len(second) == 2
    assert {said[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
    assert said["NoNewPrivs"] == "0"


def test_under_sudo_the_environment_is_the_callers(account: pwd.struct_passwd) -> None:
    done = sudo(account, "env")
    env = dict(line.split("=", 1) for line in done.stdout.splitlines())

    assert {name: env.get(name) for name in ("HOME", "USER", "LOGNAME", "SHELL", "MAIL")} == {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": "/bin/sh",
        "MAIL": f"/var/mail/{account.pw_name}",
    }
    assert [name for name in env if name.startswith("SUDO_")] == []


def test_inheritable_capabilities_do_not_survive(account: pwd.struct_passwd) -> None:
    need("setpriv")
    inherit = ["setpriv", "--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"]
    command = [*DRIVER, "-u", account.pw_name, "--cwd", "/", "--", "cat", "/proc/self/status"]
    done = subprocess.run([*inherit, *command], capture_output=True, text=True, timeout=DEADLINE_S, check=True)

    assert {fields(done.stdout)[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}


def test_as_root_keeps_root(account: pwd.struct_passwd) -> None:
    assert sudo(account, "id", "-u", options=["--as-root"]).stdout == "0\n"


def by_sudo(account: pwd.struct_passwd, words: Sequence[str], said: str = "") -> subprocess.CompletedProcess[str]:
    """`sudo WORDS` as that user calls it, with a text to read."""
    return subprocess.run(
        ["sudo", "-n", *words],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        cwd=account.pw_dir,
        input=said,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


ID = shlex.join([*DRIVER, "--", "id", "-u"])


@pytest.mark.parametrize("words", [["-s"], ["-i"], ["su"], ["su", "-"], ["sh"], ["bash"], ["bash", "-l"]], ids=str)
def test_inside_a_root_shell_nothing_is_dropped(account: pwd.struct_passwd, words: list[str]) -> None:
    """SUDO_UID is set there too, and everything is meant to be root's."""
    assert by_sudo(account, words, f"{ID}\n").stdout == "0\n"


@pytest.mark.parametrize(
    "words",
    [
        ["timeout", "20"],
        ["nice"],
        ["env"],
        ["setsid", "-w"],
        ["xargs"],
        ["strace", "-o", "/dev/null", "-f"],
        ["timeout", "20", "nice", "env"],
        ["sh", "-c", '"$@"; exit $?', "sh"],
        ["bash", "-ec", '"$@"; exit $?', "sh"],
        ["sh", "-c", 'sh -c "$*; :"', "sh"],
        ["sh", "/dev/stdin"],
        ["-s", "--"],
        ["-i", "--"],
    ],
    ids=str,
)
def test_whatever_stands_between_sudo_and_forktrace(account: pwd.struct_passwd, words: list[str]) -> None:
    script = words[-1] == "/dev/stdin"
    done = by_sudo(account, words if script else [*words, *shlex.split(ID)], f"{ID}\nexit\n" if script else "")
    assert done.stdout == f"{account.pw_uid}\n", done.stderr


def test_where_it_cannot_be_told_nothing_is_started(account: pwd.struct_passwd) -> None:
    """sudo has ended, and pid 1 is above us: as a daemon is."""
    need("unshare")
    apart = ["unshare", "--pid", "--fork", "--mount-proc"]
    done = by_sudo(account, [*apart, *shlex.split(ID)])
    ways = (["--as-root"], ["-u", "root"])
    forced = [by_sudo(account, [*apart, *DRIVER, *words, "--", "id", "-u"]) for words in ways]
    out = Path(account.pw_dir) / "undecided"
    by_sudo(account, [*apart, *DRIVER, "--as-root", "-o", str(out), "--", "true"])

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--as-root, or -u USER" in done.stderr
    assert [each.stdout for each in forced] == ["0\n", "0\n"]
    assert out.stat().st_uid == account.pw_uid  # to write as the caller harms nobody


def test_an_output_that_another_user_made_before_is_refused(account: pwd.struct_passwd) -> None:
    planted = Path("/tmp") / f"forktrace-planted-{os.getpid()}"
    planted.write_text("planted")
    planted.chmod(0o666)
    try:
        done = sudo(account, "true", options=["-o", str(planted)])
        assert planted.read_text() == "planted"
        os.chown(planted, account.pw_uid, account.pw_gid)
        with pytest.raises(CannotWriteError, match=f"another user .uid {account.pw_uid}."):
            open_output(planted)
        assert planted.read_text() == "planted"
        assert sudo(account, "true", options=["-o", str(planted)]).returncode == 0
    finally:
        planted.unlink()

    assert (done.returncode, done.stderr.count("\n")) == (73, 1)


def test_not_found_under_sudo_names_its_path(account: pwd.struct_passwd) -> None:
    done = sudo(account, "no-such-program-here")
    assert (done.returncode, "PATH is sudo's" in done.stderr) == (127, True)


def test_a_program_that_only_root_may_run_is_126(account: pwd.struct_passwd, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    done = sudo(account, str(program))

    assert (done.returncode, f"for {account.pw_name}" in done.stderr) == (126, True)


def test_under_sudo_outputs_are_the_callers(account: pwd.struct_passwd) -> None:
    out = Path(account.pw_dir) / "out"
    assert sudo(account, "true", options=["-o", str(out)]).returncode == 0
    made = out.stat()

    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (account.pw_uid, account.pw_gid, 0o600)


def test_under_sudo_an_output_needs_the_callers_permission(account: pwd.struct_passwd, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = sudo(account, "true", options=["-o", str(tmp_path / "out")])

    assert (done.returncode, list(tmp_path.iterdir())) == (73, [])
    assert f"{account.pw_name} may not write it" in done.stderr
    assert sudo(account, "true", options=["-o", "/etc/shadow"]).returncode == 73


def test_under_sudo_a_link_gives_nothing_away(account: pwd.struct_passwd, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("secret")
    link = Path(account.pw_dir) / "link"
    link.symlink_to(precious)
    done = sudo(account, "true", options=["-o", str(link)])

    assert (done.returncode, done.stderr.count("\n")) == (73, 1)
    assert (precious.read_text(), precious.stat().st_uid) == ("secret", 0)


def test_another_user_by_name_and_by_number(account: pwd.struct_passwd) -> None:
    for user in (account.pw_name, str(account.pw_uid)):
        command = [*DRIVER, "-u", user, "--cwd", "/", "--", "sh", "-c", "id -u; echo $HOME"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
        assert done.stdout == f"{account.pw_uid}\n{account.pw_dir}\n"


def test_another_user_needs_root(account: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: account.pw_uid)
    with pytest.raises(NoPermissionError, match="sudo"):
        user_identity("root")


def test_ctrl_z_and_fg_under_sudo(account: pwd.struct_passwd) -> None:
    need("setpriv")
    become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups"]
    with Shell(become) as shell:
        shell.run("cd /; sudo -n " + shlex.join([*DRIVER, "--", "sh", "-c", "id -u; exec cat"]))
        shell.expect(str(account.pw_uid))
        shell.keys("\x1a")
        shell.expect("Stopped")
        shell.prompt()
        shell.run("fg")
        shell.keys("two\n")
        shell.expect("two")
        shell.keys("\x04")
        shell.prompt()
        shell.run("echo code=$?")
        shell.expect("code=0")


# Without sudo


def test_a_sudo_that_is_not_above_us_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    need("root")
    monkeypatch.setattr(sudo_caller, "_decided", {})
    monkeypatch.setenv("SUDO_UID", "54321")  # nobody above us is theirs
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(UsageError, match="give --as-root, or -u USER"):
        caller_identity()


@pytest.mark.parametrize("uid", ["", "0", "x", "-1"])
def test_no_caller_without_sudo(monkeypatch: pytest.MonkeyPatch, uid: str) -> None:
    monkeypatch.setenv("SUDO_UID", uid)
    assert caller_identity() is None


def test_unknown_user() -> None:
    with pytest.raises(UsageError, match="no-such-user"):
        user_identity("no-such-user")


def test_the_environment_of_an_identity() -> None:
    someone = Identity("u", 12345678, 1, (1,), "/home/u", "/bin/zsh")
    entries = [b"PATH=/p", b"HOME=/root", b"odd", b"SUDO_UID=1", b"XDG_RUNTIME_DIR=/run/user/0", b"HOME=/again"]

    assert someone.environment(entries) == [
        b"PATH=/p",
        b"HOME=/home/u",
        b"odd",
        b"USER=u",
        b"LOGNAME=u",
        b"SHELL=/bin/zsh",
        b"MAIL=/var/mail/u",
    ]


def test_output_is_private_and_truncated(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_output(out) as f:
        f.write(b"long text")
    with open_output(out) as f:
        f.write(b"short")

    assert (out.read_bytes(), stat.S_IMODE(out.stat().st_mode)) == (b"short", 0o600)


def test_output_through_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(CannotWriteError, match="symbolic link"):
        open_output(tmp_path / "link")
    assert (tmp_path / "file").read_text() == "kept"


def test_output_to_a_descriptor_of_the_shell() -> None:
    read, write = os.pipe()
    with open_output(f"/dev/fd/{write}") as f:
        f.write(b"text")
    os.close(write)

    assert os.read(read, 100) == b"text"
    os.close(read)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("none/out", "no folder"),
        (".", "is a folder"),
        ("file/out", "is not a folder"),
        ("fifo", "nobody reads"),
    ],
)
def test_output_that_can_not_be(path: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CannotWriteError, match=words) as e:
        open_output(tmp_path / path)
    assert e.value.mend


def test_output_blocks_as_any_file(tmp_path: Path) -> None:
    with open_output(tmp_path / "out") as f:
        assert os.get_blocking(f.fileno())


def test_a_folder_that_is_there_and_takes_no_files() -> None:
    """The kernel says ENOENT of /proc, but it need not be made."""
    need("root")

    with pytest.raises(CannotWriteError) as caught:
        open_output("/proc/trace")

    assert str(caught.value) == "can not write /proc/trace: /proc takes no new files; name another place with -o"
    with pytest.raises(CannotWriteError, match=r"there is no folder /proc/none; make it"):
        open_output("/proc/none/trace")


def test_a_data_set_by_sudo_is_the_callers_and_follows_no_link(account: pwd.struct_passwd, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    tmp_path.chmod(0o755)
    home = Path(account.pw_dir)
    command = [str(Path(sys.executable).with_name("forktrace"))]
    for words in (["--backend", "strace", "-q", "-o", "t.ftrace", "--", "true"], ["fleet", ".", "--into", "set", "-q"]):
        assert by_sudo(account, [*command, *words]).returncode == 0
    made = list((home / "set").rglob("*"))
    files = [path for path in made if path.is_file()]
    owners = {path.stat().st_uid for path in made}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in files}
    for path in files:
        path.unlink()
        if "traces" not in str(path.relative_to(home)):  # without those it is all to be written again
            path.symlink_to(precious)
    by_sudo(account, [*command, "fleet", ".", "--into", "set", "-q"])
    refused = by_sudo(account, [*command, "fleet", ".", "--into", str(tmp_path / "set"), "-q"])

    assert files
    assert (owners, modes) == ({account.pw_uid}, {0o600})
    assert all(path.is_file() and not path.is_symlink() for path in files)
    assert precious.read_text() == "kept"
    assert (refused.returncode, (tmp_path / "set").exists()) == (73, False)
    assert "permission denied" in refused.stderr
