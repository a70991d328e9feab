// Reddi, Kale & Kumar 2018, "On the Convergence of Adam and Beyond", Theorem 1 with C = 3, in x; y is a parabola.
{
  name: "Reddi et al.: Adam fails",
  formula: "fₜ(x, y) = (3x at t = 1, 4, 7, …; else −x) + y² / 4, in the box [−1, 1]²",
  note: "x = −1 is best. With β₁ = 0, β₂ = 0.1 Adam goes to x = 1, the worst; AMSGrad does not.",
  view: { x: [-1.15, 1.15], y: [-1.15, 1.15] },
  start: [0.4, 0.8],
  best: [[-1, 0]],
  least: -1 / 3,
  noise: 1,
  steps: 600,
  rates: { SGD: 0.01, Adagrad: 0.1, Adadelta: 1, Lion: 0.005, Signum: 0.005, SimplifiedAdEMAMix: 0.002, "": 0.02 },
  value: (x, y) => Math.max(x, -1) / 3 + (y * y) / 4,
  gradient: ([x, y], t) => [t % 3 === 1 ? 3 : -1, y / 2],
  project: (p) => p.map((each) => Math.min(Math.max(each, -1), 1)),
}
