"""What is published is what is tested: versions, files, and the commands that the README shows."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
PAGES = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
WHEEL_LIMIT_BYTES = 80_000_000


def _constraint_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _pins() -> dict[str, str]:
    pairs = (line.split("==") for line in _constraint_lines())
    return {canonicalize_name(name): version for name, version in pairs}


def _requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]
    return [Requirement(text) for text in texts if not text.startswith("geotiler[")]


# Versions


def test_constraints_name_public_versions_only() -> None:
    for line in _constraint_lines():
        # Names, digits, epochs: no local build (+cpu), no file, address, range or marker.
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==([0-9]+!)?[0-9]+(\.[0-9a-z]+)*", line), line
        assert Version(line.partition("==")[2]).local is None


def test_constraints_name_each_project_once() -> None:
    assert len(_pins()) == len(_constraint_lines())


@pytest.mark.parametrize("requirement", _requirements(), ids=str)
def test_every_dependency_is_pinned_to_a_version_it_allows(requirement: Requirement) -> None:
    pins = _pins()
    name = canonicalize_name(requirement.name)
    assert name in pins, f"constraints.txt does not pin {name}"
    assert requirement.specifier.contains(pins[name]), f"{requirement} against {pins[name]}"


def test_the_network_stack_is_pinned_exactly() -> None:
    exact = {r.name: str(r.specifier) for r in _requirements()}
    assert exact["torch"] == "==2.13.0"
    assert exact["torchvision"] == "==0.28.0"


def _installed_closure() -> dict[str, str]:
    """Name → public version of everything installed that geotiler and its tests stand on.

    What a parent pins exactly, what a CUDA build of torch brings along, and pip, which installs
    all of this, are left to them.
    """
    open_requirements = [r for r in _requirements() if not r.marker or r.marker.evaluate()]
    seen: dict[str, str] = {}
    while open_requirements:
        requirement = open_requirements.pop()
        name = canonicalize_name(requirement.name)
        if name in seen:
            continue
        try:
            found = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        seen[name] = Version(found.version).public
        for text in found.requires or []:
            child = Requirement(text)
            wanted = not child.marker or child.marker.evaluate({"extra": ""})
            exact = any(part.operator == "==" for part in child.specifier)
            cuda = child.name.startswith(("nvidia-", "cuda-", "triton"))
            if wanted and not exact and not cuda and child.name != "pip":
                open_requirements.append(child)
    return seen


def test_constraints_are_the_versions_that_these_tests_run_with() -> None:
    pins, installed = _pins(), _installed_closure()
    assert len(installed) > 50
    unpinned = sorted(installed.keys() - pins.keys())
    assert not unpinned, f"add to constraints.txt: {unpinned}"
    other = {n: (pins[n], v) for n, v in installed.items() if Version(pins[n]) != Version(v)}
    if other:
        pytest.skip(f"this environment does not follow constraints.txt: {other}")


def test_the_version_has_one_source() -> None:
    import geotiler

    assert "version" in PROJECT["dynamic"]
    assert "version" not in PROJECT
    init = (ROOT / "geotiler" / "__init__.py").read_text(encoding="utf-8")
    assert init.count("__version__ =") == 1
    assert f"## [{geotiler.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_pre_commit_runs_the_ruff_of_the_constraints() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert f"rev: v{_pins()['ruff']}" in hooks


# Texts


def _texts() -> Iterator[Path]:
    """Every text file of the project, whether it is a checkout or an unpacked archive."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        folders = ("geotiler", "configs", "tests", "docs", "examples")
        paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
        paths += list(ROOT.glob("*.*"))
    for path in paths:
        if path.is_file() and b"\0" not in path.read_bytes()[:8192]:
            yield path


def test_no_file_mentions_the_machine_it_was_written_on() -> None:
    # Put together here, so that this file does not match itself.
    words = ["/" + "work/", "/." + "library", "/" + "root/", "file:" + "///"]
    words += ["extra-" + "index-url", "find-" + "links", "@ " + "file"]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in _texts()
        for word in words
        if word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert not found


def test_continuous_integration_runs_two_targets_of_make_and_nothing_cleverer() -> None:
    script = ROOT / ".ci" / "run"
    assert os.name == "nt" or os.access(script, os.X_OK)
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if line]
    assert lines[-2:] == ["make test", "exec make test-system"]


def _variable(name: str) -> str:
    """What the Makefile assigns, its continued lines as one."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (value,) = re.findall(rf"^{name} := (.*)$", makefile, flags=re.MULTILINE)
    return str(value)


def test_what_skips_without_a_system_package_or_an_extra_has_a_target_that_runs_it() -> None:
    named = {name: _variable(name).split() for name in ("SYSTEM_TESTS", "EXTRA_TESTS")}
    for words in named.values():
        for word in words:
            assert (ROOT / word.partition("::")[0]).exists(), word
    extras = set(_variable("EXTRAS").split(","))
    installed_before = {"dev", "test", "serve", "remote", "stac", "fuzz"}
    assert extras == PROJECT["optional-dependencies"].keys() - installed_before
    modules = "comet_ml|distributed|mkdocs|mlflow|tensorboard|wandb"
    for path in (ROOT / "tests").rglob("test_*.py"):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        if re.search(rf'importorskip\(\s*"({modules})"|which\("dvc"\)', text):
            assert name in named["EXTRA_TESTS"]
        if re.search(r"`make test-system` \w+ (it|one)\b", text) and path != Path(__file__):
            folders = {name, *(parent.as_posix() for parent in Path(name).parents)}
            assert folders & {word.partition("::")[0] for word in named["SYSTEM_TESTS"]}, name


def test_what_the_system_tests_fetch_ends_by_itself_and_asks_nobody() -> None:
    """A machine without a network loses minutes, and its tests skip."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    recipes = re.findall(r"^(?:system-packages|test-system):.*\n((?:\t.*\n)+)", makefile, re.M)
    fetching = [
        line
        for recipe in recipes
        for line in recipe.splitlines()
        if re.search(r"apt-get|APT_GET|npm|pip install|hatch_build", line)
    ]
    assert len(fetching) == 4
    for line in fetching:
        assert line.startswith("\t-@"), "a failure is told and ignored"
        assert "$(BOUNDED)" in line
    assert "env DEBIAN_FRONTEND=noninteractive apt-get" in makefile
    assert "echo timeout 240" in makefile


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


# Commands of the README


def _shell_lines(text: str = README + EXAMPLES) -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


GEOTILER_LINES = [words[1:] for words in _shell_lines() if words[0] == "geotiler"]
PAGE_LINES = [w[1:] for w in _shell_lines(PAGES) if w[0] == "geotiler" and w[1][0] != "-"]


def _command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words call, and the words that are left."""
    import typer

    from geotiler.cli.main import app

    command, rest = typer.main.get_command(app), list(words)
    while hasattr(command, "commands"):
        assert rest, f"{command.name} needs a command"
        assert rest[0] in command.commands, f"no command {rest[0]!r}"
        command = command.commands[rest.pop(0)]
    return command, rest


def _flags(command: Any) -> dict[str, bool]:
    """Flag → True if a value follows it."""
    return {
        flag: not getattr(parameter, "is_flag", False)
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("-")
    } | {"--help": False}


def test_the_readme_shows_commands() -> None:
    assert {words[0] for words in GEOTILER_LINES} >= {"segment", "vectorize", "evaluate", "train"}


@pytest.mark.parametrize("words", [*GEOTILER_LINES, *PAGE_LINES], ids=" ".join)
def test_every_command_of_the_readme_and_the_pages_exists_with_its_flags(words: list[str]) -> None:
    command, rest = _command(words)
    flags = _flags(command)
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    positional, expecting_value = 0, False
    for word in rest:
        if expecting_value:
            expecting_value = False
        elif word == ">":
            break
        elif word.startswith("-") and word != "-":
            assert word in flags, f"{command.name} has no flag {word}"
            expecting_value = flags[word]
        else:
            positional += 1
    assert not expecting_value, f"{rest[-1]} lacks its value"
    least = sum(argument.required for argument in arguments)
    most = float("inf") if any(a.nargs < 0 for a in arguments) else len(arguments)
    assert least <= positional <= most


def test_every_flag_named_in_the_readme_exists() -> None:
    import typer

    from geotiler.cli.main import app

    def walk(command: Any) -> Iterator[str]:
        yield from _flags(command)
        for child in getattr(command, "commands", {}).values():
            yield from walk(child)

    known = set(walk(typer.main.get_command(app)))
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    named = set(re.findall(r"`(--[a-z-]+)", prose))
    assert named
    assert named <= known


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {words[1] for words in _shell_lines() if words[0] == "make"}
    named |= set(re.findall(r"`make ([a-z-]+)`", README))
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:.*## ", makefile, flags=re.MULTILINE), f"make {target}"


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the checkout with nothing but the installed wheel."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(folder), str(wheel)], check=True, capture_output=True)
    return folder


def _outside(code: str, unpacked: Path, folder: Path) -> str:
    """What the code prints in a fresh interpreter that sees the wheel before the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_the_wheel_is_small_and_holds_what_it_needs(wheel: Path) -> None:
    assert wheel.stat().st_size < WHEEL_LIMIT_BYTES
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("configs", "weights"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                assert f"geotiler/{path.relative_to(ROOT).as_posix()}" in names
    assert "geotiler/weights/buildings/card.json" in names
    assert "geotiler/configs/buildings.yaml" in names
    assert "geotiler/service/page/index.html" in names
    page = ROOT / "geotiler" / "service" / "page"
    for path in page.rglob("*"):  # with the libraries of the pages, where npm could fetch them
        if path.is_file():
            assert path.relative_to(ROOT).as_posix() in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"geotiler"}
    assert not [name for name in names if name.endswith((".pt", ".pth", ".pkl", ".ckpt"))]


@pytest.mark.slow
def test_an_installed_wheel_finds_its_files(unpacked: Path, tmp_path: Path) -> None:
    code = (
        "import geotiler, geotiler.resources as r; "
        "print(geotiler.__file__, r.weights_dir(), r.configs_dir(), sep='\\n')"
    )
    for line in _outside(code, unpacked, tmp_path).splitlines():
        path = Path(line)
        assert path.exists()
        assert path.resolve().is_relative_to(unpacked.resolve())


@pytest.mark.slow
def test_an_installed_wheel_opens_its_model_and_lists_it(unpacked: Path, tmp_path: Path) -> None:
    code = "from geotiler.models.registry import find_model; print(find_model('buildings').folder)"
    folder = Path(_outside(code, unpacked, tmp_path))
    assert folder.resolve().is_relative_to(unpacked.resolve())
    code = (
        "import sys; from geotiler.cli.main import run; "
        "sys.argv = ['geotiler', 'models', 'list']; run()"
    )
    assert "buildings" in _outside(code, unpacked, tmp_path)


@pytest.mark.slow
def test_an_installed_wheel_composes_its_configuration(unpacked: Path, tmp_path: Path) -> None:
    code = "from geotiler.training.compose import compose; print(compose('buildings', []).task)"
    assert _outside(code, unpacked, tmp_path).splitlines()[-1] == "buildings"
