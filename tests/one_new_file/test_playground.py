"""One new file is enough for a function of the playground: it is added to a scratch copy, and used."""

from scratch_support import Scratch


def test_a_function(scratch: Scratch) -> None:
    scratch.add(
        "playground/functions/newcomer.js",
        """
        {
          name: "A newcomer",
          formula: "f(x, y) = x² + y²",
          note: "Round.",
          view: { x: [-1, 1], y: [-1, 1] },
          start: [1, 1],
          best: [[0, 0]],
          least: 0,
          noise: 1,
          steps: 100,
          rates: { "": 0.01 },
          value: (x, y) => x * x + y * y,
          gradient: ([x, y]) => [2 * x, 2 * y],
        }
        """,
    )
    scratch.adamas("play", "--no-open", "--output", "page.html")
    text = (scratch.folder / "page.html").read_text(encoding="utf-8")
    assert '"newcomer":\n{' in text
    assert text.index('"beale":') < text.index('"newcomer":') < text.index('"quadratic":')
