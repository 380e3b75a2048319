"""metadata.yaml."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.errors import Invalid
from hutch.image import metadata
from hutch.schema.base import ZERO_TIME


def test_a_document_is_read_with_its_scalars_as_text() -> None:
    about = metadata.parse(
        "architecture: amd64\ncreation_date: 1700000000.5\nproperties:\n  release: 12\n  lts: true\n  none:\n  day: 2026-01-02\n"
        "templates:\n  /etc/hosts:\n    when: [create, copy]\n    template: hosts.tpl\n    create_only: true\n"
        "    properties: {a: 1}\nunknown: {x: [1]}\n"
    )
    assert about.architecture == "x86_64"
    assert about.created_at.year == 2023
    assert about.expires_at == ZERO_TIME
    assert about.properties == {"release": "12", "lts": "true", "none": "", "day": "2026-01-02"}
    assert about.templates["/etc/hosts"].create_only
    assert about.templates["/etc/hosts"].properties == {"a": "1"}


def test_what_is_written_reads_back_the_same() -> None:
    about = metadata.parse(
        "architecture: arm64\nproperties: {name: 'grün: \"x\"'}\ntemplates: {/a: {when: [start], template: t}}"
    )
    assert metadata.parse(metadata.render(about)) == about


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no keys"),
        ("- a\n- b", "no keys"),
        ("a: [", "no YAML"),
        ("architecture: !!python/object/apply:os.system [id]", "no YAML"),
        ("creation_date: 1", "names no architecture"),
        ("architecture: vax", "vax"),
        ("architecture: x86_64\nproperties: [1]", "properties"),
        ("architecture: x86_64\nproperties: {a: {b: c}}", "properties"),
        ("architecture: x86_64\ntemplates: {etc/hosts: {when: [create], template: t}}", "etc/hosts"),
        ("architecture: x86_64\ntemplates: {/../x: {when: [create], template: t}}", "absolute path"),
        ("architecture: x86_64\ntemplates: {/x: {when: [create], template: ../../etc/shadow}}", "shadow"),
        ("architecture: x86_64\ntemplates: {/x: {when: [create], template: /etc/shadow}}", "shadow"),
        ("architecture: x86_64\ntemplates: {/x: {when: [never], template: t}}", "never"),
        ("a: &a [x,x]\nb: &b [*a,*a]\narchitecture: x86_64\nproperties: {c: *b}", "properties"),
        ("[" * 20_000, "no YAML"),
    ],
)
def test_wrong_documents_are_refused_with_a_reason(text: str, word: str) -> None:
    with pytest.raises(Invalid, match=word):
        metadata.parse(text)


@given(st.text(max_size=200))
def test_no_text_crashes_the_parser(text: str) -> None:
    with suppress(Invalid):
        metadata.parse(text)
