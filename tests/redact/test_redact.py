from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.errors import BadDataError, NoInputError
from tracer.model.batch import Batch
from tracer.model.schema import Kind
from tracer.redact import MARK, RULES, load_rules, redact, redact_batch, redact_environment

SECRET = "Zq8vXsecretW3"

# § is the secret, ¤ the mark. The left side is a command line, the right one what must be left of it.
HIDDEN = (
    # names
    ("psql --password § db", "psql --password ¤ db"),
    ("psql --password=§ db", "psql --password=¤ db"),
    ("x --db-password § --client_secret=§ -token §", "x --db-password ¤ --client_secret=¤ -token ¤"),
    ("x --password '§ and more' y", "x --password ¤ y"),
    ("x --password -§ y", "x --password ¤ y"),
    ("x --password=§,with,commas&and;more", "x --password=¤"),
    ("x --api-key § --accessKey=§ --aws.secretAccessKey §", "x --api-key ¤ --accessKey=¤ --aws.secretAccessKey ¤"),
    ("java -Dnet.ssl.keyStorePassword=§ -jar x", "java -Dnet.ssl.keyStorePassword=¤ -jar x"),
    ("mount -o username=me,password=§,vers=3 //h/s /mnt", "mount -o username=me,password=¤,vers=3 //h/s /mnt"),
    ("echo 'Server=x;Uid=sa;Pwd=§;Database=y'", "echo 'Server=x;Uid=sa;Pwd=¤;Database=y'"),
    ("x password: §", "x password: ¤"),
    ("git -c http.token = §", "git -c http.token = ¤"),
    # headers
    ("curl -H 'Authorization: Bearer §' u", "curl -H 'Authorization: Bearer ¤' u"),
    ("curl -H 'authorization: §' u", "curl -H 'authorization: ¤' u"),
    ("curl -H Authorization:§ u", "curl -H Authorization:¤ u"),
    ("curl --header='Proxy-Authorization: Basic §' u", "curl --header='Proxy-Authorization: Basic ¤' u"),
    ("x '--run=mysql -p§ x' '--header=Cookie: a=§; b=§'", "x '--run=mysql -p¤ x' '--header=Cookie: ¤'"),
    ("curl -H 'Cookie: sid=§; other=§' u", "curl -H 'Cookie: ¤' u"),
    ("curl -H 'X-Api-Key: §' -H 'PRIVATE-TOKEN: §' u", "curl -H 'X-Api-Key: ¤' -H 'PRIVATE-TOKEN: ¤' u"),
    ("x Authorization: Bearer § y", "x Authorization: Bearer ¤ y"),
    ("sh -c 'echo Authorization: Bearer §; ls'", "sh -c 'echo Authorization: Bearer ¤ ls'"),
    ("http GET u Authorization:'Bearer §'", "http GET u Authorization:'Bearer ¤'"),
    # URLs
    ("git clone https://me:§@host/x.git", "git clone https://me:¤@host/x.git"),
    ("psql postgres://me:§@§@host:5432/db", "psql postgres://me:¤@host:5432/db"),
    ("redis-cli -u redis://:§@host", "redis-cli -u redis://:¤@host"),
    ("curl 'https://h/x?access_token=§&page=2'", "curl 'https://h/x?access_token=¤&page=2'"),
    ("curl 'https://h/x?se=1&sig=§'", "curl 'https://h/x?se=1&sig=¤'"),
    ("curl https://token:§@host/", "curl https://token:¤@host/"),
    # forms and JSON
    ("curl -d 'user=me&password=§&x=1' u", "curl -d 'user=me&password=¤&x=1' u"),
    ("""x '{"user": "me", "password": "§ §", "x": [1]}'""", """x '{"user": "me", "password": "¤", "x": [1]}'"""),
    ("""x '{"a":1,"token":"§","x":[1]}'""", """x '{"a":1,"token":"¤","x":[1]}'"""),
    # environment
    ("env PGPASSWORD=§ psql", "env PGPASSWORD=¤ psql"),
    ("env MY_KEY_2=§ 'DB_PASS=§ §' x", "env MY_KEY_2=¤ DB_PASS=¤ x"),
    ("docker run -e MYSQL_ROOT_PASSWORD=§ -e TZ=UTC i", "docker run -e MYSQL_ROOT_PASSWORD=¤ -e TZ=UTC i"),
    # programs
    ("mysql -p§ -u root db", "mysql -p¤ -u root db"),
    ("sudo -u x /usr/bin/mysqldump -p§ db", "sudo -u x /usr/bin/mysqldump -p¤ db"),
    ("curl -u me:§ u", "curl -u me:¤ u"),
    ("curl -ume:§ --user me:§ --proxy-user=me:§ u", "curl -ume:¤ --user me:¤ --proxy-user=me:¤ u"),
    ("docker login -u me -p § reg", "docker login -u me -p ¤ reg"),
    ("sshpass -p § ssh h", "sshpass -p ¤ ssh h"),
    ("sshpass -p§ ssh h", "sshpass -p¤ ssh h"),
    ("redis-cli -h x -a § ping", "redis-cli -h x -a ¤ ping"),
    ("smbclient //h/s -U me%§", "smbclient //h/s -U me%¤"),
    ("xfreerdp /u:me /p:§ /v:h", "xfreerdp /u:me /p:¤ /v:h"),
    ("rar a -hp§ x.rar", "rar a -hp¤ x.rar"),
    ("openssl enc -k § -in x", "openssl enc -k ¤ -in x"),
    ("ldapsearch -D cn=x -w §", "ldapsearch -D cn=x -w ¤"),
    # addresses that are secrets themselves
    ("curl https://hooks.slack.com/services/T0/B0/§ -d x", "curl https://hooks.slack.com/services/¤ -d x"),
    ("curl 'https://discord.com/api/webhooks/123/§?wait=1'", "curl 'https://discord.com/api/webhooks/123/¤?wait=1'"),
    ("curl https://api.telegram.org/bot12:§/sendMessage", "curl https://api.telegram.org/bot12:¤"),
    ("curl 'https://maps.x/api?q=1&key=§&sensor=false'", "curl 'https://maps.x/api?q=1&key=¤&sensor=false'"),
    # more programs
    ("nmcli dev wifi connect SSID password §", "nmcli dev wifi connect SSID password ¤"),
    ("npm config set //registry/:_authToken §", "npm config set //registry/:_authToken ¤"),
    ("az login -u me -p §", "az login -u me -p ¤"),
    ("aws s3 cp a b --sse-c-key §", "aws s3 cp a b --sse-c-key ¤"),
    ("ngrok authtoken §", "ngrok authtoken ¤"),
    ("""python -c "os.environ['PASSWORD']='§'" """, """python -c "os.environ['PASSWORD']='¤'" """),
    # words
    ("aws configure set aws_secret_access_key §", "aws configure set aws_secret_access_key ¤"),
    ("redis-cli config set requirepass §", "redis-cli config set requirepass ¤"),
    # tokens known by their beginning
    ("x ghp_§", "x ¤"),
    ("git push https://glpat-§@host/x", "git push https://¤@host/x"),
    ("x a=eyJhbGci§.eyJzdWIi§.§_-§", "x a=¤"),
    ("x 'a -----BEGIN RSA PRIVATE KEY-----\n§\n-----END RSA PRIVATE KEY----- b' y", "x 'a ¤ b' y"),
    ("x 'a -----BEGIN PRIVATE KEY-----\n§'", "x 'a ¤'"),
    # command lines inside arguments
    ("sh -c 'PGPASSWORD=§ psql -l'", "sh -c 'PGPASSWORD=¤ psql -l'"),
    (
        """sh -c "X_TOKEN='§ §' run && mysql -p§ -e 'select 1'; curl -u me:§ u" """,
        """sh -c "X_TOKEN=¤ run && mysql -p¤ -e 'select 1'; curl -u me:¤ u" """,
    ),
    ("""ssh h "curl -H 'Authorization: Bearer §' u" """, """ssh h "curl -H 'Authorization: Bearer ¤' u" """),
    ("""sh -c 'ssh h "mysql -p§ x"'""", """sh -c 'ssh h "mysql -p¤ x"'"""),
    ("""bash -lc 'cd /x;mysql -p§ x'""", """bash -lc 'cd /x;mysql -p¤ x'"""),
    # more than asked for, rather than less: the end of an unquoted value is not looked for
    ("sh -c 'mysql --password=§;ls'", "sh -c 'mysql --password=¤'"),
)

# What looks like a secret to a lesser rule and is none.
KEPT = (
    "docker run -p 80:80 -u 1000:1000 nginx",
    "ls -p -u --color=auto",
    "x --password-file /run/secrets/db --token-url https://h/t --password-stdin --no-password db",
    "x --key-size 4096 --keyboard us --max-tokens 5 --eos-token </s>",
    "mysql -p -h host",
    "mkdir -p secret password token",
    "sort --key=2 a[key]=3 key=4",
    "nmcli connection show",
    "curl -o file https://host:8080/a:b@c?page=2#x",
    "git commit -m 'Explain the tokenizer and the passwords file'",
    "make HOTKEY=1 KEYBOARD=us CC=gcc -j4",
    "env PWD=/x OLDPWD=/y SSH_AUTH_SOCK=/tmp/a KEY_FILE=/k TOKEN_PATH=/t x",
    "gifski --bypass 1 --two-pass 2",
    "sh -c 'tar -czf - a b | ssh -p 22 host'",
    "ssh -i key.pem user@host:22",
    "vals eval secret://vault/path --from=token://a/b",
    "x sk-short eyJ ghp_1",
    "kubectl get secret db -o yaml",
    "x '' ' ' \t",
)


def words(line: str) -> list[str]:
    return [word.replace("§", SECRET).replace("¤", MARK) for word in shlex.split(line)]


@pytest.mark.parametrize(("line", "expected"), HIDDEN)
def test_secrets_are_hidden_and_nothing_else(line: str, expected: str) -> None:
    argv = words(line)
    before = list(argv)
    found, count = redact(argv)

    assert found == words(expected)
    assert count == expected.count("¤")
    assert redact(found) == (found, 0)
    assert argv == before


@pytest.mark.parametrize("line", KEPT)
def test_what_is_no_secret_stays(line: str) -> None:
    assert redact(words(line)) == (words(line), 0)


def test_an_empty_list_and_empty_values() -> None:
    assert redact([]) == ([], 0)
    assert redact(["x", "--password", "", "--token="]) == (["x", "--password", "", "--token="], 0)


def test_options_are_not_taken_for_the_secret_they_follow() -> None:
    assert redact(["x", "--password", "--host", "h", "--token", "-v"])[1] == 0


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (f"AWS_SECRET_ACCESS_KEY={SECRET}", f"AWS_SECRET_ACCESS_KEY={MARK}"),
        (f"NPM_TOKEN={SECRET}=", f"NPM_TOKEN={MARK}"),
        (f"npm_config__authToken={SECRET}", f"npm_config__authToken={MARK}"),
        (f"DB_PASS={SECRET} {SECRET}", f"DB_PASS={MARK}"),
        (f"DATABASE_URL=postgres://me:{SECRET}@h/db", f"DATABASE_URL=postgres://me:{MARK}@h/db"),
        (f"MYSQL_CMD=mysql -p{SECRET} x", f"MYSQL_CMD=mysql -p{MARK} x"),
    ],
)
def test_variables_that_hold_secrets(variable: str, expected: str) -> None:
    assert redact_environment(["A=1", variable]) == (["A=1", expected], 1)
    assert redact_environment([expected]) == ([expected], 0)


@pytest.mark.parametrize(
    "variable", ["PATH=/bin:/b", "PWD=/srv", "KEYBOARD=us", "SSH_AUTH_SOCK=/tmp/a", "TOKEN=", "none", "=C:=x", ""]
)
def test_variables_that_hold_none(variable: str) -> None:
    assert redact_environment([variable]) == ([variable], 0)


# a rule file


def rules_file(folder: Path, text: str) -> Path:
    path = folder / "redact.toml"
    path.write_text(text)
    return path


def test_a_file_adds_to_the_rules(tmp_path: Path) -> None:
    path = rules_file(
        tmp_path,
        """
        names = ["Door_Code"]
        environment = ["badge"]
        words = ["vault_pass"]
        prefixes = ["corp_"]
        keep = ["csrf-token"]
        [programs]
        "mytool login" = ["-k VALUE", "-xVALUE", "-u USER:VALUE"]
        mysql = ["-z VALUE"]
        """,
    )
    rules = load_rules(path)

    def check(line: str, expected: str) -> None:
        assert redact(words(line), rules)[0] == words(expected), line

    check("x --door-code § --main.doorCode=§", "x --door-code ¤ --main.doorCode=¤")
    check("env MY_BADGE_1=§ x", "env MY_BADGE_1=¤ x")
    check("x set vault_pass §", "x set vault_pass ¤")
    check("x corp_§", "x ¤")
    check("x --csrf-token § --token §", "x --csrf-token § --token ¤")
    check("mytool login -k § -k§ -x§ -x § -u me:§", "mytool login -k ¤ -k¤ -x¤ -x § -u me:¤")
    check("mytool -k §", "mytool -k §")
    check("mysql -p§ -z §", "mysql -p¤ -z ¤")
    assert redact(words("x --door-code §"))[1] == 0, "the built-in rules are as they were"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("names = [", "is not TOML"),
        ("colours = ['a']", "no list of rules called 'colours'"),
        ("names = 'pin'", "names must be a list"),
        ("names = ['']", "at least two characters"),
        ("keep = [7, 'xx']", "keep must be a list"),
        ("[programs]\nx = ['-k']", "programs: -k is no option"),
        ("[programs]\nx = ['VALUE']", "programs: VALUE is no option"),
        ("[programs]\nx = 5", "is no option"),
        ("programs = 5", "is no option"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadDataError, match=said):
        load_rules(rules_file(tmp_path, text))


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="cannot be read: no such file"):
        load_rules(tmp_path / "none.toml")


# batches


def test_a_batch_is_redacted_in_place() -> None:
    rows = [
        (Kind.EXEC, {"pid": 1, "argv": ["mysql", f"-p{SECRET}"], "env": [f"A_KEY={SECRET}", "B=1"]}),
        (Kind.FORK, {"pid": 2, "comm": "mysql"}),
        (Kind.EXEC, {"pid": 2, "argv": ["mysql", f"-p{SECRET}"]}),
        (Kind.EXEC, {"pid": 3, "argv": []}),
        (Kind.EXISTING, {"pid": 4, "argv": ["x", "--token", SECRET]}),
    ]
    batch = Batch.from_rows(rows)

    assert redact_batch(batch) == 4
    found = [(e.pid, e.argv, e.env) for e in batch.events()]
    assert found == [
        (1, ["mysql", f"-p{MARK}"], [f"A_KEY={MARK}", "B=1"]),
        (2, None, None),
        (2, ["mysql", f"-p{MARK}"], None),
        (3, [], None),
        (4, ["x", "--token", MARK], None),
    ]
    assert redact_batch(batch) == 0


# hostile text

FRAGMENTS = st.sampled_from(
    (
        *"=:@&;,'\"\\ \t\n?/%|()$-{}",
        "//",
        "://",
        "--",
        "password",
        "--password",
        "-p",
        "-u",
        "token",
        "mysql",
        "curl",
        "docker",
        "login",
        "sh",
        "-c",
        "a",
        "b1",
        "x.y",
        "ghp_",
        "eyJ",
        "AAAAAAAAAA",
        "-----BEGIN",
        "PRIVATE KEY-----",
        "-----END",
        MARK,
        "Authorization",
        "Bearer",
        "Basic",
        "KEY",
        "requirepass",
        "\udc80",
        "é",
        "SG.",
        "../",
        "--x=",
    )
)
WORD = st.lists(FRAGMENTS, max_size=14).map("".join) | st.text(max_size=12)


@settings(max_examples=400)
@given(st.lists(WORD, max_size=6))
def test_any_text_is_taken_and_twice_is_as_once(argv: list[str]) -> None:
    before = list(argv)
    found, count = redact(argv)

    assert argv == before
    assert len(found) == len(argv)
    assert (count == 0) == (found == argv)
    assert redact(found) == (found, 0)
    variables, _ = redact_environment(argv)
    assert redact_environment(variables) == (variables, 0)


@given(
    st.text(st.characters(categories=("Lu", "Ll", "Nd"), max_codepoint=127), min_size=8, max_size=40),
    st.sampled_from([line for line, _ in HIDDEN if "glpat-" not in line]),
)
def test_whatever_the_secret_nothing_of_it_is_left(secret: str, line: str) -> None:
    secret = f"Q{secret}7"  # no word of the line itself
    found, _ = redact([word.replace("§", secret) for word in shlex.split(line)])

    assert secret not in "\0".join(found)


HOSTILE = (
    "a",
    "=",
    "a=",
    "password=",
    "://",
    "x://a:b@",
    '"',
    "'",
    "\\",
    "\"'",
    '"\\',
    " ",
    "-p ",
    "authorization: ",
    "ghp_",
    "eyJ.",
    "-----BEGIN PRIVATE KEY-----",
    "' \" ",
    "\"a 'b ",
    ":",
    '{"password":"x"},',
    "secret='",
    "@",
    "a\\ ",
    "K_",
    "--password ",
    "x: ",
    "-----BEGIN",
    '\\"',
    "token\"'\\=",
)


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_is_linear_in_the_text(unit: str) -> None:
    """Four times the text, less than twelve times the CPU time (a quadratic rule would take sixteen); best of two."""

    def spent(length: int) -> float:
        text = unit * (length // len(unit))
        best = float("inf")
        for _ in range(2):
            begun = time.process_time()
            redact(["curl", text, f"{text} {text}"])
            best = min(best, time.process_time() - begun)
        return best

    assert spent(48_000) < 12 * spent(12_000) + 0.02


def test_rules_know_the_programs_by_their_own_name() -> None:
    assert set(RULES.programs) >= {"mysql", "curl", "docker login", "redis-cli"}
    assert not [name for name in RULES.programs if "|" in name or name != name.strip()]
