// A long narrow valley: what momentum and a stepsize for each coordinate are for.
{
  name: "Ill-conditioned quadratic",
  formula: "f(x, y) = (x² + 100 y²) / 2",
  note: "A straight ravine, a hundred times steeper across than along.",
  view: { x: [-2.4, 2.4], y: [-1.5, 1.5] },
  start: [-2, 1.1],
  best: [[0, 0]],
  least: 0,
  noise: 5,
  steps: 300,
  rates: { SGD: 0.008, Adagrad: 0.3, Adadelta: 1, Lion: 0.02, Signum: 0.02, SimplifiedAdEMAMix: 0.003, "": 0.05 },
  value: (x, y) => (x * x + 100 * y * y) / 2,
  gradient: ([x, y]) => [x, 100 * y],
}
