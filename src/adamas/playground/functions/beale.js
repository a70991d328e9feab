// Beale 1958, "On an iterative method for finding a local minimum of a function of more than one variable".
{
  name: "Beale",
  formula: "f(x, y) = (1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²",
  note: "Plateaus between steep walls: gradients of very different sizes on one path.",
  view: { x: [-1.5, 4.5], y: [-2, 2] },
  start: [0, -1.5],
  best: [[3, 0.5]],
  least: 0,
  noise: 2,
  steps: 1000,
  rates: { SGD: 0.002, Adagrad: 0.3, Adadelta: 1, Lion: 0.01, Signum: 0.01, SimplifiedAdEMAMix: 0.003, "": 0.03 },
  value: (x, y) => (1.5 - x + x * y) ** 2 + (2.25 - x + x * y * y) ** 2 + (2.625 - x + x * y ** 3) ** 2,
  gradient: ([x, y]) => {
    const a = 1.5 - x + x * y, b = 2.25 - x + x * y * y, c = 2.625 - x + x * y ** 3;
    return [
      2 * a * (y - 1) + 2 * b * (y * y - 1) + 2 * c * (y ** 3 - 1),
      2 * a * x + 4 * b * x * y + 6 * c * x * y * y,
    ];
  },
}
