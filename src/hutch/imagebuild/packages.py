"""Downloads the packages of an image with apt, in a private apt state, without touching the machine's own.

This is the only part of a build that uses the network. apt checks the archive's signatures and every package's
hash; what follows works offline on the downloaded set.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hutch.errors import Invalid, NotFound, ToolFailed
from hutch.imagebuild import program, sources
from hutch.imagebuild.recipe import Recipe

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Download:
    """A folder that is a flat apt repository of exactly the packages asked for and what they need."""

    repository: Path
    names: list[str]


class Apt:
    """apt with its state in `root`: sources of one release, no installed packages."""

    def __init__(self, root: Path, recipe: Recipe) -> None:
        self.root, self.recipe = root, recipe
        self.archives = root / "cache" / "archives"
        for folder in (self.archives / "partial", root / "lists" / "partial", root / "etc" / "empty"):
            folder.mkdir(parents=True, exist_ok=True)
        (root / "status").write_text("")
        self.mirror = recipe.found_mirror()
        key = sources.keyring(recipe.distribution)
        components = sources.COMPONENTS[recipe.distribution]
        (root / "etc" / "sources.list").write_text(
            "".join(
                f"deb [signed-by={key}] {address} {suite} {components}\n"
                for address, suite in sources.lines(recipe.distribution, recipe.suite, self.mirror)
            )
        )

    def options(self) -> list[str]:
        settings = {
            "Dir::Etc": self.root / "etc",
            "Dir::Etc::SourceList": self.root / "etc" / "sources.list",
            "Dir::Etc::SourceParts": self.root / "etc" / "empty",
            "Dir::Etc::Parts": self.root / "etc" / "empty",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": self.root / "etc" / "empty",
            "Dir::State": self.root,
            "Dir::State::Lists": self.root / "lists",
            "Dir::State::status": self.root / "status",
            "Dir::Cache": self.root / "cache",
            "Dir::Cache::archives": self.archives,
            "Dir::Log": self.root,
            "APT::Architecture": self.recipe.debian_architecture,
            "APT::Architectures": self.recipe.debian_architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",  # the cache may lie where the user _apt cannot look
            "APT::Keep-Downloaded-Packages": "true",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "DPkg::Post-Invoke": "",
            "APT::Update::Post-Invoke": "",
        }
        return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]

    def update(self, progress: Callable[[str], None]) -> None:
        """Fetch the lists of packages."""
        where = f"{self.recipe.distribution} {self.recipe.suite}"
        progress(f"Reading the package lists of {where}")
        try:
            program.run(["apt-get", *self.options(), "-q", "update", "--error-on=any"])
        except ToolFailed as error:
            raise NotFound(f"cannot read the package lists of {where}: {_reason(error)}") from error

    def download(self, wanted: Sequence[str], progress: Callable[[str], None]) -> list[Path]:
        """Fetch `wanted` (names or apt patterns) and all they depend on; the .deb files."""
        argv = ["apt-get", *self.options(), "-q", "--yes", "--download-only"]
        plan = self.planned(["install", *wanted])
        progress(f"Downloading {len(plan)} packages, {sum(size for _, size in plan) / MEGABYTE:.1f} MB")
        watcher = _Watcher(len(plan), progress)
        program.run([*argv, "-o", "APT::Status-Fd=1", "install", *wanted], line=watcher)
        return [self.archives / name for name, _ in plan]

    def planned(self, verb: Sequence[str]) -> list[tuple[str, int]]:
        """The (file name, size in bytes) of all that `verb` would fetch."""
        # A file that is in the cache already is not printed, unless the cache is looked for elsewhere.
        argv = ["apt-get", *self.options(), "-o", f"Dir::Cache::archives={self.root / 'none'}"]
        (self.root / "none" / "partial").mkdir(parents=True, exist_ok=True)
        try:
            text = program.output([*argv, "-qq", "--yes", "--print-uris", *verb])
        except ToolFailed as error:
            raise Invalid(f"cannot resolve the packages of {self.recipe.name}: {_reason(error)}") from error
        return [(name, int(size)) for name, size in re.findall(r"^'\S+' (\S+) (\d+)", text, re.MULTILINE)]


def fetch(recipe: Recipe, cache: Path, progress: Callable[[str], None]) -> Download:
    """Download all that the recipe's system consists of and lay it out as a repository."""
    apt = Apt(cache / f"{recipe.distribution}-{recipe.suite}-{recipe.debian_architecture}", recipe)
    apt.update(progress)
    wanted = ["?essential", "?priority(required)", *recipe.all_packages]
    files = apt.download(wanted, progress)
    repository = apt.root / "repository"
    _lay_out(repository, files)
    _forget_old(apt.archives, files)
    names = [file.name.split("_", 1)[0] for file in files]
    return Download(repository, names)


def fetch_one(recipe: Recipe, package: str, cache: Path, progress: Callable[[str], None]) -> Path:
    """Download one package without its dependencies."""
    apt = Apt(cache / f"{recipe.distribution}-{recipe.suite}-{recipe.debian_architecture}", recipe)
    apt.update(progress)
    progress(f"Downloading the package {package}")
    name, size = apt.planned(["download", package])[0]
    target = apt.archives / name
    if not target.exists() or target.stat().st_size != size:
        program.run(["env", "--chdir", str(apt.archives), "apt-get", *apt.options(), "-q", "download", package])
    return target


class _Watcher:
    """Turns apt's status lines into one line of progress for every tenth part."""

    def __init__(self, count: int, progress: Callable[[str], None]) -> None:
        self.count, self.progress, self.tenth = count, progress, 0

    def __call__(self, line: str) -> None:
        match = re.match(r"dlstatus:\d+:([\d.]+):", line)
        if match and int(float(match[1]) / 10) > self.tenth:
            self.tenth = int(float(match[1]) / 10)
            self.progress(f"Downloading {self.count} packages: {self.tenth * 10}%")


def _lay_out(repository: Path, files: Sequence[Path]) -> None:
    if repository.exists():
        shutil.rmtree(repository)
    repository.mkdir(mode=0o755)
    stanzas = []
    for file in files:
        (repository / file.name).hardlink_to(file)
        control = program.output(["dpkg-deb", "--field", str(file)]).rstrip()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        stanzas.append(f"{control}\nFilename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n")
    (repository / "Packages").write_text("\n".join(stanzas))


def _forget_old(archives: Path, used: Sequence[Path]) -> None:
    """Drop older versions of the packages just used; other recipes' packages stay."""
    keep = {file.name for file in used}
    packages = {name.split("_", 1)[0] for name in keep}
    for file in archives.glob("*.deb"):
        if file.name not in keep and file.name.split("_", 1)[0] in packages:
            file.unlink()


def _reason(error: ToolFailed) -> str:
    lines = [line for line in error.stderr.splitlines() if line.startswith(("E:", "Err:"))]
    return lines[0].removeprefix("E:").strip() if lines else str(error)
