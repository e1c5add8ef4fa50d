"""The pictures in docs/debugging.md, from the sessions that the page tells of.

    python -m benchmarks.pictures

draws ``median.svg``, a terminal with a session on the page's first program, and, where Chromium and its driver are
installed, ``report.png``, the report of its second. A picture of the report says which page it shows: ``PAGE`` in its
metadata is the hash of the files that make the page, so that a test tells when it is old.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from benchmarks.measure import ROOT

PAGE = ROOT / "docs" / "debugging.md"
FOLDER = ROOT / "docs" / "pictures"
TERMINAL, REPORT = FOLDER / "median.svg", FOLDER / "report.png"
ARGUMENTS = ["debug", "median.tasm", "-i", "readings=[12,7,30,22,5,18,9]"]
TYPED = ["goto end", "why median", "ram a", "b insert", "rc", "p t"]
SHAPE = (1240, 1180)  # of the report, in pixels
COLOURS = 64
THEME = TerminalTheme((22, 27, 34), (208, 215, 222), [(22, 27, 34)] * 8, [(208, 215, 222)] * 8)
STYLES = (  # by what a line begins with
    (r"\(debug\)", "bold #7ee787"),
    (r"^-> ", "#ffd866"),
    (r"^(step|breakpoint) ", "#8b949e"),
    (r"    step .*$", "#8b949e"),
)
SOURCES = ("page.html", "page.css", "page.js")
COMPILE = """
import numpy as np
data = np.load("programs/onnx/lenet5_test.npz")
images = (data["calibration"] / 255).astype(np.float32) / 4
images[:, :, 0, 0] = 1
np.savez("calibration.npz", image=images)
np.save("two.npy", (data["image"][6:7] / 255).astype(np.float32))
"""


def session() -> str:
    """The command and what the debugger prints, with what is typed."""
    listing = re.search(r"```tasm\n(; median\.tasm\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert listing is not None
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "median.tasm").write_text(listing[1])
        shown = _ran(ARGUMENTS, Path(name), "".join(f"{line}\n" for line in TYPED))
    return f"$ syurmy-vm {' '.join(ARGUMENTS)}\n{shown}"


def terminal(text: str) -> str:
    """A terminal that shows ``text``, as SVG that needs no network."""
    lines = text.rstrip("\n").splitlines()
    console = Console(record=True, width=max(map(len, lines)) + 1, file=io.StringIO(), legacy_windows=False)
    for line in lines:
        styled = Text(line)
        for pattern, style in STYLES:
            styled.highlight_regex(pattern, style)
        console.print(styled, no_wrap=True)
    made = console.export_svg(title="syurmy-vm debug", theme=THEME, unique_id="terminal")
    made = re.sub(r"<!--.*?-->\n?", "", made, flags=re.DOTALL)
    made = re.sub(r"@font-face \{.*?\}\n?", "", made, flags=re.DOTALL)
    made = made.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
    return "\n".join(line.rstrip() for line in made.splitlines()) + "\n"


def words(svg: str) -> str:
    """The text of a picture, without the room between its words."""
    return "".join(
        "".join(e.itertext()) for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("}text")
    ).replace("\xa0", "")


def page_hash() -> str:
    """Of the files that make the report's page."""
    found = hashlib.sha256()
    for name in SOURCES:
        found.update((ROOT / "syurmy" / "report" / name).read_bytes())
    return found.hexdigest()


def report(chromium: str, driver: str) -> bytes:
    """The report of the page's second program, with the node where its error begins chosen."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless", "no-sandbox", "disable-gpu", "hide-scrollbars", f"window-size={SHAPE[0]},{SHAPE[1]}"):
        options.add_argument(f"--{argument}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "programs").symlink_to(ROOT / "programs")
        shutil.copy(ROOT / "programs" / "onnx" / "lenet5.onnx", folder / "digits.onnx")
        subprocess.run([sys.executable, "-c", COMPILE], cwd=folder, check=True)
        _ran(["compile", "digits.onnx", "--calibrate", "calibration.npz"], folder)
        model = ["--model", "digits.onnx", "--html", "report.html"]
        _ran(["profile", "digits", "-i", "two.npy", *model], folder)
        browser = webdriver.Chrome(options=options, service=Service(driver))
        try:
            browser.get((folder / "report.html").as_uri())
            browser.execute_script("select(data.costs.findIndex((c) => c.name === 'Relu /relu1')); scrollTo(0, 0)")
            browser.implicitly_wait(1)
            return bytes(browser.get_screenshot_as_png())
        finally:
            browser.quit()


def _ran(arguments: list[str], folder: Path, typed: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "syurmy", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, input=typed, capture_output=True, text=True, check=True)
    return done.stdout


def _kept(picture: bytes) -> None:
    """Writes the picture of the report with few colours and the hash of its page."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    said = PngInfo()
    said.add_text("page", page_hash())
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(REPORT, optimize=True, pnginfo=said)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    TERMINAL.write_text(terminal(session()))
    print(f"written: {TERMINAL.relative_to(ROOT)}")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        print(f"{REPORT.relative_to(ROOT)} stays: chromium and chromedriver are not installed")
        return
    _kept(report(chromium, driver))
    print(f"written: {REPORT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
