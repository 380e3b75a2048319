"""Extensions are promises: one is listed only when a test exercises it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hutch.service.extensions import EXTENSIONS
from tests.promises import PROMISES

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_extension_is_kept_by_a_test(extension: str) -> None:
    assert extension in PROMISES, f"add a line for {extension} to tests/promises.py, with the test that exercises it"
    file, _, name = PROMISES[extension].partition("::")
    assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE), f"{file} has no {name}"


def test_none_is_listed_twice_and_no_promise_is_left_over() -> None:
    assert len(EXTENSIONS) == len(set(EXTENSIONS))
    assert set(PROMISES) - set(EXTENSIONS) == set()


def test_the_table_of_what_is_compatible_is_up_to_date() -> None:
    root = TESTS.parent
    made = subprocess.run(
        [sys.executable, root / "scripts" / "compatibility"], capture_output=True, text=True, check=True
    )

    assert (root / "docs" / "compatibility.md").read_text() == made.stdout, "make docs"
