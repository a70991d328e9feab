// The view as text after the # of the address, and back.

const STEPS = [100, 300, 400, 600, 1000, 3000];

const packed = (text) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
const unpacked = (text) =>
  new TextDecoder().decode(
    Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0)),
  );

function written(state) {
  const parts = [`f=${state.f}`, `at=${state.start.map((each) => +each.toPrecision(6)).join(",")}`];
  if (state.noise > 0) parts.push(`noise=${state.noise}`, `seed=${state.seed}`);
  parts.push(`steps=${state.steps}`, `t=${Math.round(state.t)}`);
  if (state.axis) parts.push("axis=y");
  for (const each of state.lanes) {
    const values = Object.entries({ ...each.h, ...each.options }).map(([name, value]) => `${name}=${value}`);
    parts.push(
      `rule=${[each.rule, ...values].map((said) => encodeURIComponent(said).replace("%3D", "=")).join(";")}`,
    );
  }
  if (state.lanes.some((each) => each.rule === OWN)) parts.push(`own=${packed(own.text)}`);
  return parts.join("&");
}

// The view that an address is of; whatever it says that makes no sense is as at first.
function read(hash) {
  const parts = hash
    .replace(/^#/, "")
    .split("&")
    .map((each) => each.split(/=(.*)/s, 2));
  const given = (name) => parts.find(([key]) => key === name)?.[1];
  const number = (name, low, high, otherwise) => {
    const value = Number(given(name) ?? NaN);
    return Number.isFinite(value) ? Math.min(Math.max(value, low), high) : otherwise;
  };
  const f = Object.hasOwn(FUNCTIONS, given("f") ?? "") ? given("f") : "quadratic";
  const place = (given("at") ?? "").split(",").map(Number);
  const steps = Math.round(number("steps", 1, 10000, FUNCTIONS[f].steps));
  const state = {
    f,
    start: place.length === 2 && place.every(Number.isFinite) ? place : [...FUNCTIONS[f].start],
    noise: number("noise", 0, 1, 0),
    seed: Math.round(number("seed", 0, 9999, 1)),
    steps,
    t: number("t", 0, steps, 0),
    axis: given("axis") === "y" ? 1 : 0,
    lanes: [],
  };
  let text = "";
  try {
    text = unpacked(given("own") ?? "");
  } catch {
    text = "";
  }
  const rules = parts.filter(([key]) => key === "rule").map(([, value]) => laneOf(value ?? "", f, text));
  state.lanes = rules.filter(Boolean).slice(0, COLORS);
  if (!state.lanes.length) state.lanes = opening(f);
  return { state, text };
}

function laneOf(value, f, text) {
  let name, pairs;
  try {
    [name, ...pairs] = value.split(";").map(decodeURIComponent);
  } catch {
    return null;
  }
  if (name === OWN ? !text : !Object.hasOwn(RULES, name)) return null;
  const made = lane(name, f);
  for (const [key, said] of pairs.map((each) => each.split("="))) {
    const option = (Object.hasOwn(made.options, key) ? fields(name).options[key] : []).find(
      (each) => String(each) === said,
    );
    if (option !== undefined) made.options[key] = option;
    else if (
      Number.isFinite(Number(said)) &&
      (Object.hasOwn(made.h, key) || (name === OWN && key !== "__proto__"))
    )
      made.h[key] = Number(said);
  }
  return made;
}

// The rules at first: those that the page was made for, beside Adam, else a few that differ.
function opening(f) {
  const names = FIRST.length ? [...FIRST.slice(0, COLORS - 1), "Adam"] : ["Adam", "RMSprop", "SGD"];
  const lanes = names.map((name) => lane(name, f));
  for (const each of lanes) if (each.rule === "SGD") each.h.momentum = 0.9;
  return lanes;
}

const EXAMPLES = {
  "A ravine":
    "f=quadratic&at=-2,1.1&steps=300&rule=Adam;lr=0.05&rule=RMSprop;lr=0.05&rule=SGD;lr=0.008;momentum=0.9&rule=SGD;lr=0.015",
  "Bias correction":
    "f=quadratic&at=-2,1.1&steps=300&rule=Adam;lr=0.05;beta2=0.999&rule=Adam;lr=0.05;beta2=0.999;bias_correction=false",
  Noise:
    "f=rosenbrock&at=-1.2,1&noise=0.5&seed=3&steps=1000&rule=Adam;lr=0.03&rule=AMSGrad;lr=0.03&rule=Lion;lr=0.005&rule=SGD;lr=0.001",
  "Off the saddle":
    "f=saddle&at=-1.8,0.001&steps=400&axis=y&rule=Adam;lr=0.03&rule=SGD;lr=0.05;momentum=0.9&rule=SGD;lr=0.05&rule=Lion;lr=0.01",
  "Where Adam fails":
    "f=reddi&at=0.4,0.8&steps=600&rule=Adam;lr=0.02;beta1=0;beta2=0.1&rule=AMSGrad;lr=0.02;beta1=0;beta2=0.1&rule=SGD;lr=0.01",
};
