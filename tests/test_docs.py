"""Every command of the documentation runs, in the order of its page; the pages build strictly."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine

from geotiler.cli.main import main
from geotiler.models.bundle import Bundle
from geotiler.resources import weights_dir
from geotiler.specs import RenderSpec
from geotiler.tasks.render import render

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["tutorial.md", "how-to.md"]


def _commands(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith("geotiler ")]


def _prepare(folder: Path) -> None:
    """What the how-tos start from."""
    spec = RenderSpec(
        output=folder / "scene.tif", truth=folder / "houses.gpkg", height=384, width=384, seed=3
    )
    render(spec)
    with rasterio.open(folder / "scene.tif") as scene:
        pixels, profile = scene.read(), {"crs": scene.crs, "transform": scene.transform}
    cv2.imwrite(str(folder / "photo.jpg"), np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    with rasterio.open(
        folder / "uint16.tif", "w", driver="GTiff", count=3, height=384, width=384,
        dtype="uint16", **profile,
    ) as file:  # fmt: skip
        file.write(pixels.astype(np.uint16) * 12)
    with rasterio.open(
        folder / "sentinel2.tif", "w", driver="GTiff", count=3, height=200, width=260,
        dtype="uint16", crs="EPSG:32633", transform=Affine(10, 0, 3e5, 0, -10, 54e5),
    ) as file:  # fmt: skip
        file.write(np.random.default_rng(1).integers(200, 2600, (3, 200, 260)).astype(np.uint16))
    text = (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8")
    (settings,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    (folder / "settings.toml").write_text(settings)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_from_top_to_bottom(
    page: str,
    tiny_landuse: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if page != "tutorial.md":  # which starts from nothing
        _prepare(tmp_path)
    commands = _commands(page)
    assert len(commands) > 5
    for command in commands:
        words = shlex.split(command)[1:]
        if words[0] == "classify" and not (weights_dir() / "landuse").is_dir():
            words += ["--model", str(tiny_landuse.folder)]
        assert main(words) == 0, f"{command}: {capsys.readouterr().err}"


@pytest.mark.slow
def test_the_documentation_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "commands" / "index.html").read_text(encoding="utf-8")
    assert "--threshold" in page
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', index)
    assert fetched == [], "pages fetch nothing from elsewhere"


def _quoted() -> list[str]:
    """Messages that the page on troubleshooting quotes: its headings and tables, … in gaps."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)(?<!\(\d\))$", text, flags=re.MULTILINE)
    rows = re.findall(r"^\| `(.+?)` \|", text, flags=re.MULTILINE)
    return [*headings, *rows]


def _fixed_words(message: str) -> list[str]:
    """What does not change from one message to the next, the longest first."""
    parts = [part.strip(" ,?:();") for part in re.split(r"…|GEOTILER_", message)]
    return sorted(filter(None, parts), key=len, reverse=True)


def test_every_message_of_troubleshooting_is_one_that_geotiler_says() -> None:
    """Each quotation's longest stretch of fixed words occurs in the source."""
    source = " ".join(
        " ".join(path.read_text(encoding="utf-8").split())
        for path in (ROOT / "geotiler").rglob("*.py")
    )
    source = re.sub(r'"\s+f?"', "", source)
    quoted = _quoted()
    assert len(quoted) > 60
    assert len(set(quoted)) == len(quoted)
    for message in quoted:
        assert _fixed_words(message)[0] in source, message


def _said_without_a_hint() -> Iterator[tuple[str, str]]:
    """Where, and which, of all messages that do not say themselves how to mend what is wrong."""
    for path in sorted((ROOT / "geotiler").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = ast.unparse(node.func)
            has_hint = len(node.args) > 1 or any(one.arg == "hint" for one in node.keywords)
            if name not in ERRORS or has_hint:
                continue
            message = node.args[0]
            parts = message.values if isinstance(message, ast.JoinedStr) else [message]
            texts = [one.value if isinstance(one, ast.Constant) else "…" for one in parts]
            if set(texts) != {"…"}:  # otherwise another library's words
                yield f"{path.relative_to(ROOT)}:{node.lineno}", "".join(map(str, texts))


ERRORS = {"SpecError", "InputError", "OutputError", "ModelError", "DeviceError"}


def test_a_message_has_a_hint_or_a_place_in_troubleshooting() -> None:
    page = " ".join(_quoted())
    missing = [
        f"{where}: {message}"
        for where, message in _said_without_a_hint()
        if not any(words in page for words in _fixed_words(message) if len(words) > 4)
    ]
    assert not missing, "\n".join(missing)
