"""Measure the frames of the playground with four rules: how many a second, and the time of script in each.

    python docs/playground_frames.py

needs Playwright and a Chromium on the path, and prints one line a size of window.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from adamas.playground import page

SIZES = ((1440, 900), (390, 844), (3840, 2160))
RULES = "rule=Adam;lr=0.03&rule=RMSprop;lr=0.03&rule=SGD;lr=0.0008;momentum=0.9&rule=Lion;lr=0.01"
VIEW = f"f=rosenbrock&at=-1.2,1&noise=0.5&seed=3&steps=1000&{RULES}"
TIMED = """
window.timed = [];
const ask = requestAnimationFrame.bind(window);
window.requestAnimationFrame = (draw) => ask((now) => {
  const before = performance.now();
  draw(now);
  timed.push([now, performance.now() - before]);
});
"""


def frames(browser: Any, address: str, width: int, height: int) -> list[tuple[float, float]]:
    """The times at which frames began, and how long their script took, in milliseconds."""
    window = browser.new_page(viewport={"width": width, "height": height})
    window.add_init_script(TIMED)
    window.goto(address)
    window.wait_for_timeout(2000)
    window.evaluate("void (timed.length = 0)")
    window.get_by_role("button", name="Play").click()
    window.wait_for_timeout(6000)
    found: list[tuple[float, float]] = window.evaluate("timed")
    window.close()
    return found


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = Path(folder) / "page.html"
        path.write_text(page(), encoding="utf-8")
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        print(f"Chromium {browser.version}, without a GPU")
        for width, height in SIZES:
            found = frames(browser, f"{path.as_uri()}#{VIEW}", width, height)
            seconds = (found[-1][0] - found[0][0]) / 1000
            script = sorted(each for _, each in found)
            print(
                f"{width} x {height}: {(len(found) - 1) / seconds:.1f} frames a second; script "
                f"{statistics.mean(script):.2f} ms a frame, "
                f"95 of 100 within {script[int(0.95 * len(script))]:.1f} ms"
            )


if __name__ == "__main__":
    main()
