"""YAML as the command line shows and reads it: block style, members sorted, long texts as written."""

from typing import Any

import yaml

from hutch import errors

Dumper: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Dumper(Dumper):  # type: ignore[misc]  # the C one where there is one
    """Writes texts of several lines as literal blocks."""


def _text(dumper: Any, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dump(document: Any) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, width=2**16)
    return text.removesuffix("...\n")


def load(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise errors.Invalid(f"{where} is not YAML: {' '.join(str(error).split())}") from error


def mapping(text: str, where: str) -> dict[str, Any]:
    """A YAML document that must be a map."""
    found = load(text, where)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise errors.Invalid(f"{where} must be a map of names to values")
    return with_texts(found)


def with_texts(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the values in its config and devices maps as texts, however they were written."""
    found = dict(document)
    for name in ("config", "properties"):
        if isinstance(found.get(name), dict):
            found[name] = _texts(found[name])
    if isinstance(found.get("devices"), dict):
        found["devices"] = {name: _texts(device or {}) for name, device in found["devices"].items()}
    return found


def _texts(values: dict[Any, Any]) -> dict[str, str]:
    return {str(key): _as_text(value) for key, value in values.items()}


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
