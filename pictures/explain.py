"""The pictures of `mpg explain`: the HTML page of a short reply, in light and dark.

    pip install -c constraints.txt ".[plot]" && python -m pictures.explain

writes docs/images/explain.png and explain-dark.png. It needs Chromium, and what
`mpg models get smollm2` fetches.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image  # Pillow comes with matplotlib

FOLDER = Path(__file__).parent.parent / "docs" / "images"
REPLY = [
    *("-p", "N+pirate", "How should I spend my weekend?", "--model", "smollm2"),
    *("--seed", "2", "--device", "cpu", "--dtype", "float32"),
]
SHOWN = "r0t21"  # the token whose details are open
SIZE = (1100, 1120)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
THEMES = {"explain.png": 1, "explain-dark.png": 0}  # Blink's preferredColorScheme


def main() -> None:
    """Render both pictures."""
    browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if browser is None:
        sys.exit("no Chromium: apt-get install chromium")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name:
        page, shot = Path(name, "page.html"), Path(name, "shot.png")
        command = [sys.executable, "-m", "mpg_cli", "explain", *REPLY, "--html", str(page)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for file, theme in THEMES.items():
            _screenshot(browser, f"{page.as_uri()}#{SHOWN}", shot, theme)
            with Image.open(shot) as image:
                image.convert("RGB").save(FOLDER / file, optimize=True)
            print(f"{FOLDER / file}: {(FOLDER / file).stat().st_size / 1000:.0f} kB")


def _screenshot(browser: str, url: str, shot: Path, theme: int) -> None:
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        f"--blink-settings=preferredColorScheme={theme}",
        f"--window-size={SIZE[0]},{SIZE[1]}",
        f"--screenshot={shot}",
    ]
    subprocess.run([browser, *options, url], check=True, capture_output=True)


if __name__ == "__main__":
    main()
