"""Four pictures of a report, for docs/: 1280 and 360 px wide, light and dark.

    python benchmarks/screenshots.py gnomon-home/reports/quickstart.html docs/screenshots

Needs Chromium (`apt-get install chromium`) and Pillow, which matplotlib brings. The browser asks nobody for anything:
the page is a local file and holds all it shows. A window narrower than 500 px is not to be had from Chromium, so the
phone's page is shown in a frame of 360 px, which is what its media queries see.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

WIDTHS = (1280, 360)
THEMES = ("light", "dark")
TALLEST = 16000  # px, the browser's own limit for one picture
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--allow-file-access-from-files",
)  # fmt: skip


def shoot(browser: str, page: Path, picture: Path, width: int, height: int) -> None:
    """page as a browser window of width by height shows it. Raises CalledProcessError when the browser fails."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--screenshot={picture}"]
        command += [f"--window-size={width},{height}", page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def trim(picture: Path, width: int, whole: bool) -> None:
    """Cut to width and, when whole, drop the empty paper below the page's end."""
    from PIL import Image, ImageChops

    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    bottom = image.height
    if whole:
        paper = Image.new("RGB", image.size, image.getpixel((2, image.height - 2)))
        used = ImageChops.difference(image.crop((0, 0, width, bottom)), paper.crop((0, 0, width, bottom))).getbbox()
        bottom = min(image.height, (used[3] if used else bottom) + 40)
    image.crop((0, 0, width, bottom)).save(picture, optimize=True)


def screenshots(report: Path, folder: Path, height: int = 0) -> list[Path]:
    """The four pictures, NAME-WIDTH-THEME.png. height: of the part to show, px; 0 for the whole page.

    Raises SystemExit when there is no Chromium or no report.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("screenshots: no chromium found; apt-get install chromium")
    if not report.is_file():
        raise SystemExit(f"screenshots: {report}: no such report")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with tempfile.TemporaryDirectory() as scratch:
        for theme in THEMES:
            page = Path(scratch) / f"{theme}.html"
            page.write_text(report.read_text().replace('<html lang="en"', f'<html lang="en" data-theme="{theme}"', 1))
            for width in WIDTHS:
                shown = page
                tall = height or TALLEST
                if width < 500:
                    shown = Path(scratch) / f"{theme}-frame.html"
                    frame = f'<iframe src="{page.name}" style="border:0;width:{width}px;height:{tall}px"></iframe>'
                    shown.write_text(f'<!doctype html><body style="margin:0">{frame}')
                picture = folder.resolve() / f"{report.stem}-{width}-{theme}.png"
                shoot(browser, shown, picture, max(width, 500), tall)
                trim(picture, width, whole=not height)
                made.append(picture)
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--height", type=int, default=0, help="px of the page to show; 0 for all of it")
    arguments = parser.parse_args()
    for path in screenshots(arguments.report, arguments.folder, arguments.height):
        print(path)
