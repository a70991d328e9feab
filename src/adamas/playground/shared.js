// What the page and its workers share: a run of a rule on a function, all of it at once.

// Normal numbers from a seed, so that a shared address shows the same path (mulberry32, Box-Muller).
function normals(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

// The slots that stand for m and for v: the first that can be negative, and the first that cannot.
function moments(rule) {
  const names = Object.keys(rule.slots ?? {});
  const signed = (name) => rule.slots[name].signed !== false;
  return { m: names.find(signed), v: names.find((name) => !signed(name)) };
}

/**
 * A run: for each t from 0, x and y by turns in `p`, `m`, `v` and `step` (|Δ| / α); `value` one a step.
 * `end` is the last step whose point is finite.
 */
function simulate(rule, job) {
  const f = FUNCTIONS[job.f],
    normal = normals(job.seed),
    { m, v } = moments(rule);
  const names = Object.keys(rule.slots ?? {}),
    size = job.steps + 1;
  const run = {
    p: new Float64Array(2 * size),
    value: new Float64Array(size),
    step: new Float64Array(2 * size).fill(NaN),
  };
  for (const [key, name] of [
    ["m", m],
    ["v", v],
  ])
    run[key] = name === undefined ? null : new Float64Array(2 * size).fill(NaN);
  const gradient = (t, p) => {
    const g = f.gradient(p, t);
    return job.noise > 0 ? g.map((each) => each + job.noise * f.noise * normal()) : g;
  };
  let before = job.start;
  run.end = -1;
  for (const { t, p, slots } of trajectory(rule, job.h, job.start, gradient, job.steps, f.project)) {
    if (!p.every((each) => Number.isFinite(each))) {
      if (p.every((each) => typeof each === "number")) break;
      throw new TypeError("update must return an array: the new p, then the new value of each slot");
    }
    run.end = t;
    run.value[t] = f.value(...p);
    p.forEach((each, k) => {
      run.p[2 * t + k] = each;
      if (t > 0) run.step[2 * t + k] = Math.abs(each - before[k]) / (job.h.lr ?? 1);
      if (m !== undefined) run.m[2 * t + k] = slots[names.indexOf(m)][k];
      if (v !== undefined) run.v[2 * t + k] = slots[names.indexOf(v)][k];
    });
    before = p;
  }
  return run;
}

// What a page has to know of a rule; functions cannot be sent.
function description(rule) {
  for (const part of ["scalars", "update"]) {
    if (typeof rule?.[part] !== "function")
      throw new TypeError(`a rule has a function ${part}(...); see the text of Adam`);
  }
  const { name = "own", hyperparameters = {}, slots = {} } = rule;
  for (const [key, value] of Object.entries(hyperparameters)) {
    if (typeof value !== "number")
      throw new TypeError(`hyperparameters are numbers, and ${key} is ${JSON.stringify(value)}`);
  }
  return JSON.parse(JSON.stringify({ name: String(name), hyperparameters, slots, variant: {} }));
}
