"""Names for commands in a stream: alike is alike, in bounded memory."""

from __future__ import annotations

from tracer.window.attribution import spelled
from tracer.window.naming import Namer


def test_few_commands_stay_as_they_are() -> None:
    namer = Namer()
    numbers = [namer.number(["git", word]) for word in ("log", "show", "log")]

    assert numbers[0] == numbers[2] != numbers[1]
    assert namer.words(numbers[1]) == ("git", "show")


def test_many_are_learnt_to_be_alike_and_then_cost_nothing() -> None:
    namer = Namer()
    numbers = {namer.now(namer.number(["curl", "-s", f"http://a/{k}", "-o", "x"])) for k in range(20_000)}
    again = namer.number(["curl", "-s", "http://b", "-o", "x"])

    assert spelled(namer.words(again)) == "curl -s … -o x"
    assert {namer.now(n) for n in numbers} == {namer.now(again)}
    assert len(namer._words) < 200
    assert len(namer._numbers) <= 8192


def test_two_sorts_of_one_program_are_told_apart() -> None:
    namer = Namer()
    for k in range(200):
        namer.number(["git", "show", f"{k:x}"])
        namer.number(["git", "log", "--", f"src/{k}.c"])

    assert spelled(namer.words(namer.number(["git", "show", "beef"]))) == "git show …"
    assert spelled(namer.words(namer.number(["git", "log", "--", "README"]))) == "git log -- …"


def test_what_was_named_before_the_lesson_belongs_to_the_template_too() -> None:
    namer = Namer()
    first = namer.number(["sleep", "0"])
    for k in range(1, 300):
        namer.number(["sleep", str(k)])

    assert spelled(namer.words(first)) == "sleep …"


def test_those_in_use_are_merged_by_what_they_share_now() -> None:
    namer = Namer()
    uses = {namer.number(["cc", "-c", f"{k}.c"]): 3 for k in range(6)} | {namer.number(["ld", "-o", "x"]): 1}

    assert {spelled(words) for words in namer.merged(uses).values()} == {"cc -c …", "ld -o x"}


def test_a_program_whose_words_share_nothing_ends_as_itself() -> None:
    namer = Namer()
    for k in range(5000):
        namer.number(["x", f"{k}", f"{k * 7}", *("y" * (k % 3))])

    assert spelled(namer.words(namer.number(["x", "new", "one"]))) == "x …"
    assert len(namer._words) < 400


def test_long_arguments_are_cut_and_odd_ones_taken() -> None:
    namer = Namer()
    number = namer.number(["sh", "-c", "x" * 100_000, *["\udcff\x1b[2J"] * 50])

    assert len(spelled(namer.words(number))) < 2000
    assert namer.words(namer.number([])) == ()


def test_programs_without_end_do_not_fill_memory() -> None:
    namer = Namer()
    kept = namer.number(["keep", "me"])
    for k in range(30_000):
        number = namer.number([f"/tmp/build-{k}/run", "x"])
        assert namer.words(number) == (f"/tmp/build-{k}/run", "x")
        if namer.many:
            namer.prune({kept, number})

    assert len(namer._programs) <= 2048
    assert len(namer._words) <= 20_001
    assert namer.words(kept) == ("keep", "me")


def test_pruning_keeps_the_template_of_what_is_in_use() -> None:
    namer = Namer()
    first = namer.number(["sleep", "0"])
    for k in range(1, 300):
        namer.number(["sleep", str(k)])
    namer.prune({first})

    assert spelled(namer.words(first)) == "sleep …"
