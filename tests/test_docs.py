"""Every command of the documentation runs, in the order of its page; the pages build strictly."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from geotiler.cli.main import main
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
    text = (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8")
    (settings,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    (folder / "settings.toml").write_text(settings)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_from_top_to_bottom(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if page != "tutorial.md":  # which starts from nothing
        _prepare(tmp_path)
    commands = _commands(page)
    assert len(commands) > 5
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, f"{command}: {capsys.readouterr().err}"


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


def test_every_message_of_troubleshooting_is_one_that_geotiler_says() -> None:
    """Each heading's longest stretch of fixed words occurs in the source."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    source = " ".join(
        " ".join(path.read_text(encoding="utf-8").split())
        for path in (ROOT / "geotiler").rglob("*.py")
    )
    source = re.sub(r'"\s+f?"', "", source)
    headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert len(headings) >= 8
    for heading in headings:
        parts = [part.strip(" ,?") for part in re.split(r"…|GEOTILER_", heading)]
        longest = max(parts, key=len)
        assert longest in source, heading
