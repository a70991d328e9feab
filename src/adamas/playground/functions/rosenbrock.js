// Rosenbrock 1960, "An automatic method for finding the greatest or least value of a function".
{
  name: "Rosenbrock",
  formula: "f(x, y) = (1 − x)² + 100 (y − x²)²",
  note: "A bent ravine with a nearly flat floor.",
  view: { x: [-2, 2], y: [-1, 3] },
  start: [-1.2, 1],
  best: [[1, 1]],
  least: 0,
  noise: 20,
  steps: 1000,
  rates: {
    SGD: 0.001, Adagrad: 0.3, Adadelta: 1, Lion: 0.005, Signum: 0.005, RAdam: 0.002, ScheduleFreeSGD: 0.001,
    SimplifiedAdEMAMix: 0.003, AdaBound: { lr: 0.01, final_lr: 0.001 }, "": 0.03,
  },
  value: (x, y) => (1 - x) ** 2 + 100 * (y - x * x) ** 2,
  gradient: ([x, y]) => [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)],
}
