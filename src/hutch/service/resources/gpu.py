"""Graphics cards."""

import re
from pathlib import Path
from typing import Any

from hutch.service.resources import pci
from hutch.service.resources.read import text

_DRM = {"card": r"card\d+", "control": r"controlD\d+", "render": r"renderD\d+"}


def found() -> dict[str, Any]:
    folders = [each for each in sorted(Path("/sys/class/drm").glob("card*")) if re.fullmatch(r"card\d+", each.name)]
    cards = [
        pci.card(folder / "device") | {"drm": _drm(folder), "nvidia": None}
        for folder in folders
        if (folder / "device").exists()
    ]
    return {"cards": cards, "total": len(cards)}


def _drm(folder: Path) -> dict[str, Any]:
    nodes = {each.name: text(each / "dev") for each in (folder / "device" / "drm").glob("*")}
    shown: dict[str, Any] = {"id": int(folder.name[4:])}
    for kind, pattern in _DRM.items():
        name = (
            folder.name if kind == "card" else next((each for each in sorted(nodes) if re.fullmatch(pattern, each)), "")
        )
        shown |= {f"{kind}_name": name, f"{kind}_device": nodes.get(name, "")}
    return shown
