"""The script ./run, on a bare system where nothing is real but the shell (bare_system.py)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bare_system import LOG, ROOT, Checkout

EXTRAS = ",".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    """A checkout that has been used before."""
    assert checkout.run("--version")[0] == 43
    checkout.calls()
    return checkout


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited 10 s in vain"
        os.sched_yield()


# The set-up


def test_first_use_installs_uv_and_with_it_every_extra_pinned(checkout: Checkout) -> None:
    status, _, err = checkout.run("--version")
    first, second, third = checkout.set_ups()

    assert status == 43  # the command's own
    assert err.count("\n") == 1 + (not libbpf_is_here())
    assert "setting up" in err
    assert re.search(r"pip .*install --upgrade --target .*/\.tools uv$", first)
    assert second.startswith("uv venv --python /")
    assert third.startswith("uv pip install --python ")
    assert "--constraint constraints.txt --build-constraint constraints.txt" in third
    assert third.endswith(f"--editable .[{EXTRAS}]")


def test_second_use_does_nothing_but_run_it(ready: Checkout) -> None:
    status, _, err = ready.run("--version")

    assert (status, err) == (43, "")
    assert not [call for call in ready.calls() if not call.startswith("id ")]


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt", "run"])
def test_a_change_is_noticed_whatever_its_date(ready: Checkout, file: str) -> None:
    path = ready.folder / file
    before = path.stat()
    path.write_text(path.read_text() + "# changed\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    ready.run("--version")

    assert [call.split()[0] for call in ready.set_ups()] == ["python3", "uv"]  # uv itself, and the packages
    assert ready.run("--version")[2] == ""


def test_a_new_date_alone_is_no_change(ready: Checkout) -> None:
    os.utime(ready.folder / "pyproject.toml")

    assert ready.run("--version")[2] == ""


def test_a_moved_checkout_gets_a_new_environment(ready: Checkout) -> None:
    ready.folder = ready.folder.rename(ready.folder.with_name("elsewhere"))
    left = ready.folder / ".venv" / "left"
    left.touch()

    assert "setting up" in ready.run("--version")[2]
    assert "uv venv" in " ".join(ready.set_ups())
    assert not left.exists()


def test_an_environment_whose_python_is_gone_is_made_anew(ready: Checkout) -> None:
    python = ready.folder / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/missing/python3.11")

    assert ready.run("--version")[0] == 43
    assert python.exists()


def test_a_set_up_that_was_cut_off_is_done_again(checkout: Checkout) -> None:
    checkout.have("no-network")
    assert checkout.run("--version")[0] == 70
    Path(f"{checkout.calls_file}.no-network").unlink()

    assert checkout.run("--version")[0] == 43


@pytest.mark.parametrize("lack", ["no-uv", "broken-uv"])
def test_without_uv_pip_does_it(checkout: Checkout, lack: str) -> None:
    checkout.have(lack)
    if lack == "broken-uv":
        checkout.executable(Path(f"{checkout.calls_file}.uv"), LOG + "exit 2\n")

    assert checkout.run("--version")[0] == 43
    assert re.search(
        rf"--python .*/\.venv/bin/python install --constraint constraints.txt --editable \.\[{EXTRAS}]$",
        checkout.set_ups()[-1],
    )


def test_a_uv_that_is_there_is_used(checkout: Checkout) -> None:
    shutil.copy(f"{checkout.calls_file}.uv", checkout.tools / "uv")

    assert checkout.run("--version")[0] == 43
    assert [call.split()[0] for call in checkout.set_ups()] == ["uv", "uv"]


def test_without_a_network_the_cache_does(ready: Checkout) -> None:
    ready.have("no-network")
    ready.have("cached")
    (ready.folder / "constraints.txt").write_text("")

    assert ready.run("--version")[0] == 43
    assert ready.set_ups()[-1].endswith("--offline")


def test_a_set_up_that_fails_is_told_in_one_sentence(checkout: Checkout) -> None:
    checkout.have("no-network")
    status, out, err = checkout.run("--version")

    assert (status, out) == (70, "")
    assert err.splitlines()[-1].startswith("forktrace: could not set up ")
    assert "error: no route" in err
    assert "no route" in (checkout.folder / ".tools/setup.log").read_text()


def test_an_old_python_is_told(checkout: Checkout) -> None:
    checkout.python_is_old()
    status, _, err = checkout.run("--version")

    assert status == 70
    assert "needs Python 3.11 or newer, and python3 is not; mend: " in err


def test_a_newer_python_beside_it_is_found(checkout: Checkout) -> None:
    (checkout.tools / "python3").rename(checkout.tools / "python3.12")
    checkout.python_is_old()

    assert checkout.run("--version")[0] == 43


def test_the_python_that_was_named_and_no_other(checkout: Checkout) -> None:
    checkout.environment["PYTHON"] = "/missing/python"
    status, _, err = checkout.run("--version")

    assert status == 70
    assert "and /missing/python is not" in err


def test_without_pip_root_gets_it_from_the_distribution(checkout: Checkout) -> None:
    checkout.have("no-pip")
    checkout.have("uid", "0\n")
    status, _, err = checkout.run("--version")

    assert status == 70
    assert [c for c in checkout.calls() if c.startswith("apt-get") and c.endswith(" install python3-pip")]
    assert "needs pip" in err


def test_of_two_first_uses_at_once_the_second_waits(checkout: Checkout) -> None:
    os.mkfifo(f"{checkout.calls_file}.gate")
    with checkout.start("--version") as one:
        wait_until(lambda: "uv pip install" in checkout.calls_file.read_text())
        with checkout.start("--version") as other:
            wait_until(lambda: checkout.calls_file.read_text().count("flock") == 2)
            Path(f"{checkout.calls_file}.gate").write_text("")
            ends = [process.communicate(timeout=60) and process.returncode for process in (one, other)]

    assert ends == [43, 43]
    assert len([call for call in checkout.set_ups() if call.startswith("uv pip")]) == 1


# What comes from the distribution


def libbpf_is_here() -> bool:
    return any(any(Path("/usr").glob(pattern)) for pattern in ("lib*/libbpf.so.1", "lib/*/libbpf.so.1"))


def without_strace(checkout: Checkout) -> Checkout:
    (checkout.tools / "strace").unlink()
    return checkout


def test_root_installs_what_is_missing_and_says_so(checkout: Checkout) -> None:
    without_strace(checkout).have("uid", "0\n")
    status, _, err = checkout.run("--version")
    install = [call for call in checkout.calls() if call.startswith("apt-get")][-1]

    assert status == 43
    assert re.search(r"^forktrace: installing from the distribution: .*\bstrace$", err, re.M)
    assert install.endswith(" strace")
    assert "clang-14" not in install


def test_the_tests_need_more(checkout: Checkout) -> None:
    checkout.have("uid", "0\n")
    checkout.run("setup")
    install = [call for call in checkout.calls() if call.startswith("apt-get")][-1].split()

    assert {"clang-14", "llvm-14", "linux-perf", "bpftrace", "gcc", "make", "tmux"} <= set(install)
    assert not {"strace"} & set(install)  # it is there


def test_who_may_not_install_is_told_once_and_goes_on(checkout: Checkout) -> None:
    status, _, err = without_strace(checkout).run("--version")

    assert status == 43
    assert re.search(r"^forktrace: not installed, and only root may: .*: sudo apt-get .*strace$", err, re.M)
    assert checkout.run("--version")[2] == ""
    assert not [call for call in checkout.calls() if call.startswith("apt-get")]


def test_without_apt_root_is_told_too(checkout: Checkout) -> None:
    without_strace(checkout).have("uid", "0\n")
    (checkout.tools / "apt-get").unlink()
    status, _, err = checkout.run("--version")

    assert status == 43
    assert "there is no apt-get here: " in err


def test_a_failed_install_is_told_and_not_tried_again(checkout: Checkout) -> None:
    without_strace(checkout).have("uid", "0\n")
    checkout.have("no-apt")
    status, _, err = checkout.run("--version")
    checkout.calls()

    assert status == 43
    assert re.search(r"^forktrace: apt-get could not install .*strace \(.*/apt.log .*\); mend: ", err, re.M)
    assert checkout.run("--version")[2] == ""
    assert not [call for call in checkout.calls() if call.startswith("apt-get")]


def test_under_sudo_what_was_made_belongs_to_the_caller(checkout: Checkout) -> None:
    checkout.have("uid", "0\n")
    checkout.environment |= {"SUDO_UID": "1234", "SUDO_GID": "567"}
    (checkout.folder / "tracer" / "__pycache__").mkdir(parents=True)
    checkout.run("--version")
    (chown,) = [call for call in checkout.calls() if call.startswith("chown")]

    assert chown.startswith("chown -Rh 1234:567 ")
    for made in (".venv", ".tools", "tracer/__pycache__"):
        assert f"{checkout.folder}/{made}" in chown
    checkout.run("--version")
    assert not [call for call in checkout.calls() if call.startswith("chown")]


# The words


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--", "test", "a b", "", "*", "$HOME", "--help", "--"],
        ["-o", "x.ftrace", "--", "./program", "-x"],
        ["check", "x.ftrace", "--max-processes", "5"],
        ["setup", "x"],
    ],
)
def test_everything_reaches_forktrace_untouched(ready: Checkout, tmp_path: Path, words: list[str]) -> None:
    script = (ROOT / "run").read_text()
    of_the_script = {"path", "package", "line", "UV_CACHE_DIR", *re.findall(r"\b([a-z_]+)=", script)}
    mine = {**ready.environment, **dict.fromkeys(of_the_script, "mine")}
    (tmp_path / "in").write_text("input")
    with (tmp_path / "in").open() as stdin:
        status, out, err = ready.run(*words, cwd=tmp_path, env=mine, stdin=stdin)
    seen = json.loads(out)
    environment = dict(entry.split("=", 1) for entry in seen["env"])

    assert (status, err) == (43, "")
    assert seen["words"] == words
    assert seen["cwd"] == str(tmp_path)
    assert seen["fds"] == ["0", "1", "2"]
    assert seen["in"] == "input"
    assert {n: v for n, v in environment.items() if n not in ("_", "PWD", "OLDPWD", "SHLVL")} == mine


def test_it_works_through_a_link_and_by_name_alone(ready: Checkout, tmp_path: Path) -> None:
    (ready.tools / "ft").symlink_to(ready.folder / "run")
    for words, cwd in ((["ft", "x"], tmp_path), (["sh", "run", "x"], ready.folder)):
        done = subprocess.run(words, env=ready.environment, stdout=subprocess.PIPE, cwd=cwd, check=False)

        assert json.loads(done.stdout)["words"] == ["x"]


@pytest.mark.parametrize("end", [0, 5])
def test_test_runs_pytest_in_the_checkout_with_these_words(ready: Checkout, tmp_path: Path, end: int) -> None:
    ready.executable(ready.folder / ".venv/bin/python", f'{LOG}pwd >>"$CALLS"\nexit {end}\n')
    (ready.folder / ".venv/.stamp").touch()
    status, _, _ = ready.run("test", "-k", "a b", cwd=tmp_path)

    assert status == end
    assert ready.calls()[-2:] == ["python -m pytest -k a b", str(ready.folder)]


@pytest.mark.parametrize("failing", ["ruff", "mypy", "pytest", "nothing"])
def test_check_runs_all_four_and_fails_if_one_does(ready: Checkout, failing: str) -> None:
    ready.executable(ready.folder / ".venv/bin/python", f'{LOG}[ "$2" != {failing} ]\n')
    status, _, _ = ready.run("check")

    assert status == (failing != "nothing")
    assert ready.calls()[-4:] == [
        "python -m ruff check .",
        "python -m ruff format --check -q .",
        "python -m mypy",
        "python -m pytest -q tests/test_layers.py",
    ]
