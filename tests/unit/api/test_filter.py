"""The filter language of listings, as api-compat section 2 has it."""

import pytest

from hutch.api.filter import BadFilter, parse

THING = {
    "name": "web1",
    "status": "Running",
    "ephemeral": False,
    "config": {"image.os": "Debian", "user.role": "front end", "limits.cpu": "2"},
    "expanded_devices": {"root": {"pool": "default"}},
}


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("name eq web1", True),
        ("name eq web", False),
        ("name eq web.*", True),
        ("name eq ^web", True),
        ("name ne web1", False),
        ("status eq running", True),
        ("config.image.os eq debian", True),
        ('config.user.role eq "front end"', True),
        ("config.missing eq x", False),
        ("config.missing ne x", True),
        ("expanded_devices.root.pool eq default", True),
        ("ephemeral eq false", True),
        ("name eq web1 and status eq stopped", False),
        ("name eq web1 or status eq stopped", True),
        ("not name eq web1", False),
        ("not (name eq web2 or status eq stopped)", True),
        ("name eq x or name eq y and status eq running", False),
        ("(name eq web1 or name eq y) and status eq running", True),
        ("name eq web1(", False),
    ],
)
def test_a_filter_accepts_what_it_says(text: str, accepted: bool) -> None:
    if text.endswith("("):
        with pytest.raises(BadFilter):
            parse(text)
        return
    assert parse(text)(THING) is accepted


@pytest.mark.parametrize("text", ["name", "name eq", "name is x", "(name eq x", "name eq x extra", "and", "not"])
def test_a_filter_that_cannot_be_read_is_refused_in_the_words_clients_know(text: str) -> None:
    with pytest.raises(BadFilter, match="Invalid filter: ") as caught:
        parse(text)
    assert caught.value.status == 400


def test_a_value_that_is_no_regular_expression_is_compared_as_text() -> None:
    assert parse("name eq a[b")({"name": "a[b"})
    assert not parse("name eq a[b")({"name": "ab"})


@pytest.mark.parametrize("pattern", ["(a+)+b", "(.*)*x", "a?a?a?a?a?aaaaa", ".*.*.*.*.*x", "(a|a)*b", "(a{1,9}){1,9}b"])
def test_a_pattern_that_may_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(BadFilter, match="repeats a group, or has more than"):
        parse(f'name eq "{pattern}"')


def test_what_lxc_list_sends_is_taken() -> None:
    accepts = parse('name eq "(^web$|^web.*)"')
    assert accepts(THING)
    assert not accepts({"name": "other"})
