"""Loaded by `st` (test_schemathesis.py): leads half of the made-up requests to things that exist, and notes the answers.

$ST_REAL names a JSON file of the things: {path template: {parameter: value}}, $ST_SEEN the file of the
notes, $ST_HOST a folder that nobody must hear of.
"""

import json
import os
import random
from pathlib import Path
from typing import Any

import schemathesis

_REAL: dict[str, dict[str, str]] = json.loads(Path(os.environ["ST_REAL"]).read_text())
_NEVER = ("project", "target")
_DICE = random.Random(3)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Things are deleted and renamed by other names than theirs: the next requests want them."""
    path, given = case.operation.path, case.path_parameters or {}
    ends_it = case.method.upper() in ("DELETE", "POST") and path.endswith("}")
    for prefix, values in _REAL.items():
        real = {name: values[name] for name in given if name in values}
        if path.startswith(prefix) and ends_it and real.items() <= given.items():
            case.path_parameters = {**given, **dict.fromkeys(real, "another")}
        elif path.startswith(prefix) and not ends_it and _DICE.random() < 0.6:
            case.path_parameters = {**given, **real}
    if path.endswith("/files"):
        case.query = {**(case.query or {}), "path": "/etc"}
    if path.endswith("/wait"):
        case.query = {**(case.query or {}), "timeout": "0"}
    if isinstance(case.query, dict):
        for name in _NEVER:
            case.query.pop(name, None)
    if case.headers and _DICE.random() < 0.5:
        case.headers.pop("If-Match", None)


@schemathesis.check
def nothing_broke(context: Any, response: Any, case: Any) -> None:
    """501 is how LXD refuses a method that a path does not have, and hutch what it has not got."""
    assert response.status_code < 500 or response.status_code == 501


@schemathesis.check
def tells_nothing_of_the_host(context: Any, response: Any, case: Any) -> None:
    """No folder of the daemon's, and nothing of its code, is in an error."""
    if response.status_code >= 400:
        assert os.environ["ST_HOST"] not in response.text
        assert "Traceback" not in response.text
        assert "site-packages" not in response.text


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    with Path(os.environ["ST_SEEN"]).open("a") as notes:
        notes.write(f"{response.status_code} {case.method.upper()} {case.operation.path} {case.formatted_path}\n")
