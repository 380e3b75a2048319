"""The template language of LXD's images."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.errors import Invalid
from hutch.image.pongo2 import render

CONFIG = {"user.a": "1", "user.b": "2", "user.network-config": "version: 2"}
VARIABLES = {
    "container": {"name": "c1", "privileged": "false"},
    "config": CONFIG,
    "config_get": lambda key, default="": CONFIG.get(key, default),
    "properties": {"os": "debian", "default": "none\n"},
    "trigger": "create",
    "empty": "",
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # Those of the images of linuxcontainers.org and Ubuntu.
        ("{{ container.name }}\n", "c1\n"),
        ("127.0.1.1\t{{ container.name }}\n", "127.0.1.1\tc1\n"),
        ('{{ config_get("user.network-config", properties.default) }}', "version: 2"),
        ('{{ config_get("user.meta-data", properties.default) }}', "none\n"),
        ('{% if config_get("user.x", "") == "" %}none{% else %}{{ config_get("user.x", "") }}{% endif %}', "none"),
        ('#cloud-config\n{{ config_get("user.user-data", properties.default) }}', "#cloud-config\nnone\n"),
        (
            "{% for key, val in config %}{{ key }}={{ val }};{% endfor %}",
            "user.a=1;user.b=2;user.network-config=version: 2;",
        ),
        # Django's way of filters, and what pongo2 adds.
        ('{{ missing|default:"x"|upper }}', "X"),
        ("{{ missing.deeper.still }}", ""),
        ('{{ config["user.a"] }}', "1"),
        ("{{ true|yesno:'on,off' }} {{ empty|yesno:'on,off' }}", "on off"),
        ('{{ "a,b"|split:","|join:"-" }} {{ "abc"|length }} {{ "abcdef"|slice:"1:3" }}', "a-b 3 bc"),
        ("{{ 1 + 2 * 3 }} {{ 7 / 2 }} {{ 7 % 4 }} {{ 1.5 }}", "7 3 3 1.500000"),
        ("{% if not empty and (trigger == 'create' || false) %}yes{% endif %}", "yes"),
        ("{% if 'eb' in properties.os %}a{% elif true %}b{% endif %}", "a"),
        ("{% if 'zz' in properties.os %}a{% elif true %}b{% else %}c{% endif %}", "b"),
        ("{% for x in missing %}{{ x }}{% empty %}nothing{% endfor %}", "nothing"),
        ("{% for x in [1, 2, 3] reversed %}{{ x }}{% if not forloop.Last %},{% endif %}{% endfor %}", "3,2,1"),
        ("{% set a = 'x' %}{{ a }}{% with a='y' b=a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "xyxx"),
        ("{% ifequal trigger 'create' %}same{% else %}other{% endifequal %}", "same"),
        ("{% ifnotequal trigger 'create' %}same{% else %}other{% endifnotequal %}", "other"),
        ("{% autoescape off %}{{ '<&>' }}{% endautoescape %}{{ '<&>' }}", "<&><&>"),
        ("a {%- if true -%}  b  {%- endif %} c{# no #}", "ab c"),
        ("{% comment %}{{ container.name }}{% endcomment %}{% firstof empty container.name %}", "c1"),
        ("{% include 'other' %}", "<c1>"),
        ("{{ '%}' }}{ { }} plain }", "%}{ { }} plain }"),
        ("", ""),
    ],
)
def test_what_templates_write(source: str, expected: str) -> None:
    assert render(source, VARIABLES, {"other": "<{{ container.name }}>"}.__getitem__) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{",
        "{{ a",
        "{{ a ]",
        "{% if a %}",
        "{% endif %}",
        "{% if %}{% endif %}",
        "{% else %}",
        "{% unknown %}",
        "{{ a|unknown }}",
        "{{ a b }}",
        "{{ container.name() }}",
        "{{ config_get() }}",
        "{{ 1 / 0 }}",
        "{{ 'a' * 5 }}",
        "{# no end",
        "{% for x %}{% endfor %}",
        "{% include 'x' %}",
        "{{ " + "(" * 4000 + " }}",
        "{{ " + "1 + " * 100_000 + "1 }}",
        "{% if true %}" * 500,
    ],
)
def test_mistakes_are_told(source: str) -> None:
    with pytest.raises(Invalid):
        render(source, VARIABLES)


NESTED = "{% for a in 'xxxxxxxxxx' %}"


@pytest.mark.parametrize(
    "source",
    [
        NESTED * 12 + "{% endfor %}" * 12,
        "{% set a = 'x' %}" + "{% set a = a + a %}" * 60,
        "{% set a = 9999999999 %}" + "{% set a = a * a %}" * 60,
        "{{ 'x'|ljust:99999999999 }}" * 2000,
        "{% set a = 'xxxxxxxxxxxxxxxx' %}" + "{% set a = a|make_list|join:a %}" * 40,
        "{% set a = ['x', 'x'] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
        "{% include 'me' %}",
    ],
)
def test_templates_that_would_not_end_are_stopped_soon(source: str) -> None:
    began = time.monotonic()
    with pytest.raises(Invalid):
        render(source, {}, lambda name: "{% include 'me' %}{% include 'me' %}")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "source", ["{{ config_get.__globals__ }}", "{{ trigger.__class__ }}", "{{ config_get.__self__ }}"]
)
def test_nothing_of_python_shows_through(source: str) -> None:
    assert render(source, VARIABLES) == ""


@given(st.text(alphabet="{}%#|:.'\"()[] abif-+12\n", max_size=60))
def test_no_text_crashes_the_parser(source: str) -> None:
    with suppress(Invalid):
        render(source, VARIABLES)
