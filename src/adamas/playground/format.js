// Names, numbers and the scales of sliders.

const at = (selector) => document.querySelector(selector);
const COLORS = 4;
const LETTERS = "ABCD";
const SYMBOLS = {
  lr: "α",
  beta1: "β₁",
  beta2: "β₂",
  eps: "ε",
  momentum: "μ",
  rho: "ρ",
  momentum_decay: "ψ",
  lr_decay: "η",
  dampening: "τ",
};
const OPTIONS = {
  bias_correction: "bias correction",
  eps_placement: "place of ε",
  nesterov: "Nesterov",
  centered: "centered",
};

const symbol = (name) => SYMBOLS[name] ?? name.replaceAll("_", " ");

// The color of a lane, or another of the style, as it is now in light or dark.
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// The dashes of a lane's curves, in the unit of text.
const dashes = (k) =>
  [["solid"], [0.55, 0.3], [0.14, 0.2], [0.6, 0.22, 0.14, 0.22]][k]
    .map((each) => (k ? `${each * rem()}px` : each))
    .join(",");

const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

function shown(x, digits = 4) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "–" : x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  let text =
    x === 0 ? "0" : size < 1e-3 || size >= 1e5 ? x.toExponential(digits - 2) : String(+x.toPrecision(digits));
  text = text.replace(/\.?0*e/, "e").replace("e+", "e");
  return text.replaceAll("-", "−");
}

// How a slider runs over a hyperparameter: `of` a place to a value, `to` back.
function scale(name, initial) {
  if (/^(beta|rho|mu|momentum$|alpha|decay)/.test(name) || (name !== "lr" && initial >= 0.5 && initial < 1)) {
    // By the distance from one: .9 and .999 are as far apart as 0 and .9.
    const of = (s) =>
      s <= 0 ? 0 : s >= 4 ? 0.9999 : +(1 - 10 ** -s).toPrecision(s < 1 ? 2 : Math.ceil(s) + 1);
    return { min: 0, max: 4, step: 0.01, of, to: (x) => (x < 1 ? Math.min(-Math.log10(1 - x), 4) : 4) };
  }
  if (name === "lr") return decades(-5, 1, false);
  if (initial > 0 || /eps/.test(name))
    return decades(Math.min(-12, Math.floor(Math.log10(initial || 1))), 1, true);
  return { min: 0, max: 1, step: 0.01, of: (s) => +s.toFixed(2), to: (x) => x };
}

function decades(low, high, zero) {
  const of = (s) => (zero && s <= low ? 0 : +(10 ** s).toPrecision(2));
  return {
    min: low,
    max: high,
    step: 0.02,
    of,
    to: (x) => (x > 0 ? Math.min(Math.max(Math.log10(x), low), high) : low),
  };
}

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "style" || name === "role" || name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}
