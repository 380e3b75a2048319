import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.cli.table import Table, clean, fitted, show, text_width, wrap

TEXT = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40)


def lines(table: Table, bordered: bool = True) -> list[str]:
    return table.text(bordered).splitlines()


def test_a_table_is_as_wide_as_its_content() -> None:
    assert lines(Table(["NAME", "STATE"], [["c1", "RUNNING"]])) == [
        "+------+---------+",
        "| NAME | STATE   |",
        "+------+---------+",
        "| c1   | RUNNING |",
        "+------+---------+",
    ]


def test_a_compact_table_has_no_frame() -> None:
    assert lines(Table(["NAME", "STATE"], [["c1", "RUNNING"]]), bordered=False) == ["  NAME  STATE", "  c1    RUNNING"]


def test_a_cell_may_hold_several_lines() -> None:
    text = lines(Table(["A", "B"], [["1\n2", "x"]]))
    assert text[3:5] == ["| 1 | x |", "| 2 |   |"]


def test_wide_letters_and_marks_keep_the_frame_straight() -> None:
    rows = [["日本語", "1"], ["e\N{COMBINING ACUTE ACCENT}", "2"], ["plain", "3"]]
    assert len({text_width(line) for line in lines(Table(["A", "B"], rows))}) == 1


def test_the_longest_column_gives_way_to_fit_the_terminal() -> None:
    rows = [["c1", "a very long description of an instance " * 3, "RUNNING"]]
    table = Table(["NAME", "DESCRIPTION", "STATE"], rows, width=60)
    assert {len(line) for line in lines(table)} == {60}
    assert "RUNNING" in table.text()


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5), st.integers(40, 200))
def test_no_table_is_wider_than_the_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    table = Table(["A", "B", "C"], rows, width=width)
    assert all(text_width(line) <= width for line in lines(table))


@given(TEXT, st.integers(2, 50))
def test_wrapping_loses_nothing_but_spaces(text: str, width: int) -> None:
    parts = wrap(text, width)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    assert all(text_width(part) <= width for part in parts)


def test_columns_shrink_from_the_widest_down() -> None:
    assert fitted([10, 50, 30], [8, 8, 8], 60) == [10, 25, 25]
    assert fitted([10, 12], [8, 8], 5) == [8, 8]
    assert fitted([4, 30], [8, 8], 40) == [4, 30]


def test_what_would_steer_the_terminal_is_taken_out() -> None:
    assert clean("a\x1b[31mb\x07") == "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}"
    assert "\x1b" not in Table(["A"], [["\x1b]0;evil\x07"]]).text()


def test_states_are_coloured_only_when_asked() -> None:
    assert "\x1b[32mRUNNING\x1b[0m" in Table(["STATE"], [["RUNNING"]], coloured=True).text()
    assert "\x1b" not in Table(["STATE"], [["RUNNING"]]).text()


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("csv", 'c1,"a,b"\n'),
        ("json", '[{"name": "c1"}]\n'),
        ("yaml", "- name: c1\n"),
        ("compact", "  NAME  NOTE\n  c1    a,b\n"),
    ],
)
def test_formats(form: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(form, ["NAME", "NOTE"], [["c1", "a,b"]], [{"name": "c1"}])
    assert capsys.readouterr().out == shown


def test_a_wide_letter_counts_two() -> None:
    assert unicodedata.east_asian_width("日") == "W"
    assert text_width("日x") == 3
