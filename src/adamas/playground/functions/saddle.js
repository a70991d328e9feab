// A saddle that a path from the left all but runs into, and a minimum on either side of it.
{
  name: "Saddle",
  formula: "f(x, y) = x² / 2 + y⁴ / 4 − y² / 2",
  note: "Along y = 0 all paths lead to the saddle at the origin.",
  view: { x: [-2.2, 2.2], y: [-1.6, 1.6] },
  start: [-1.8, 0.001],
  best: [[0, 1], [0, -1]],
  least: -0.25,
  noise: 0.2,
  steps: 400,
  rates: { SGD: 0.05, Adagrad: 0.2, Adadelta: 1, Lion: 0.01, Signum: 0.01, SimplifiedAdEMAMix: 0.003, "": 0.03 },
  value: (x, y) => (x * x) / 2 + y ** 4 / 4 - (y * y) / 2,
  gradient: ([x, y]) => [x, y ** 3 - y],
}
