"use strict";
// What the text of a rule needs: its functions `xp`, and `trajectory`, the loop around it. JavaScript rounds
// every operation to float64 once, as Python does; only powers need care: each browser has another Math.pow.

const xp = (() => {
  // Pairs are a number and what its rounding has lost: twice the digits.
  function sum(high, low) {
    const total = high + low;
    return [total, low - (total - high)];
  }

  function product([x, x_rest], [y, y_rest]) {
    // Each number in two of half as many digits (Veltkamp), whose products are exact (Dekker).
    const split = 2 ** 27 + 1;
    const x_upper = x * split - (x * split - x),
      y_upper = y * split - (y * split - y);
    const x_lower = x - x_upper,
      y_lower = y - y_upper,
      high = x * y;
    const lost = x_upper * y_upper - high + x_upper * y_lower + x_lower * y_upper + x_lower * y_lower;
    return sum(high, lost + (x * y_rest + x_rest * y));
  }

  function added([x, x_rest], [y, y_rest]) {
    const total = x + y,
      back = total - x;
    return sum(total, x - (total - back) + (y - back) + (x_rest + y_rest));
  }

  function quotient(x, y) {
    const first = x[0] / y[0];
    const left = added(x, product([-first, 0], y));
    return added([first, 0], [(left[0] + left[1]) / y[0], 0]);
  }

  // x > 0 as [number, exponent]: number * 2^exponent, the number from 1 to 2.
  const bits = new DataView(new ArrayBuffer(8));
  function parts(x) {
    const shift = x < 2 ** -1022 ? 54 : 0;
    bits.setFloat64(0, x * 2 ** shift);
    const word = bits.getUint32(0);
    bits.setUint32(0, (word & 0xfffff) | (1023 << 20));
    return [bits.getFloat64(0), (word >>> 20) - 1023 - shift];
  }

  function scaled([x, rest], exponent) {
    if (Math.abs(exponent) > 1200) return exponent > 0 ? Infinity : 0;
    const half = Math.trunc(exponent / 2);
    return (x + rest) * 2 ** half * 2 ** (exponent - half);
  }

  // By repeated squaring, which is exact as long as a pair holds all digits.
  function whole_power(x, n) {
    let [square, exponent] = parts(x),
      result = [1, 0],
      power = 0;
    square = [square, 0];
    for (let left = n; left > 0; left = Math.floor(left / 2)) {
      if (left % 2 === 1) {
        result = product(result, square);
        power += exponent;
        const more = parts(result[0])[1];
        result = result.map((each) => each * 2 ** -more);
        power += more;
      }
      square = product(square, square);
      const more = parts(square[0])[1];
      square = square.map((each) => each * 2 ** -more);
      exponent = 2 * exponent + more;
    }
    return scaled(result, power);
  }

  const LN2 = [Math.LN2, 2.3190468138462996e-17];

  function logarithm(x) {
    let [near, exponent] = parts(x);
    if (near > Math.SQRT2) [near, exponent] = [near / 2, exponent + 1];
    // 2 artanh z, of which z^45 is the first term left out.
    const z = quotient([near - 1, 0], added([near, 0], [1, 0])),
      square = product(z, z);
    let series = [0, 0];
    for (let k = 43; k > 0; k -= 2) series = added(product(series, square), quotient([1, 0], [k, 0]));
    series = product(series, z);
    return added(product([exponent, 0], LN2), [2 * series[0], 2 * series[1]]);
  }

  function exponential(x) {
    const twos = Math.round(x[0] / Math.LN2);
    const rest = added(x, product([-twos, 0], LN2)).map((each) => each / 256);
    let series = [1, 0];
    for (let k = 12; k > 0; k -= 1) series = added([1, 0], quotient(product(series, rest), [k, 0]));
    for (let k = 0; k < 8; k += 1) series = product(series, series);
    return scaled(series, twos);
  }

  function pow(x, y) {
    if (x === 1 || y === 0) return 1;
    if (y === 2) return x * x;
    if (!(Math.abs(x) > 0 && Math.abs(x) < Infinity && Math.abs(y) < Infinity)) return Math.pow(x, y);
    if (x < 0) return Number.isInteger(y) ? (y % 2 === 0 ? 1 : -1) * pow(-x, y) : NaN;
    if (y === 0.5) return Math.sqrt(x);
    if (Number.isInteger(y) && y > 0 && y < 2 ** 31) return whole_power(x, y);
    const roughly = y * Math.log(x);
    if (Math.abs(roughly) > 800 || Math.abs(roughly) < 1e-20) return Math.exp(roughly);
    return exponential(product(logarithm(x), [y, 0]));
  }

  function log(x) {
    if (!(x > 0 && x < Infinity) || x === 1) return Math.log(x);
    const [nearest, rest] = logarithm(x);
    return nearest + rest;
  }

  // Of the sign of y, as in Python.
  function remainder(x, y) {
    const rest = x % y;
    if (rest === 0) return y < 0 ? -0 : 0;
    return rest < 0 === y < 0 ? rest : rest + y;
  }

  function floor_quotient(x, y) {
    const rest = x % y;
    const exact = (x - rest) / y - (rest !== 0 && rest < 0 !== y < 0 ? 1 : 0);
    const floor = Math.floor(exact);
    return exact - floor > 0.5 ? floor + 1 : floor;
  }

  const sign = (x) => Math.sign(x) + 0;
  return {
    sqrt: Math.sqrt,
    abs: Math.abs,
    atan2: Math.atan2,
    maximum: Math.max,
    minimum: Math.min,
    sign,
    log,
    pow,
    remainder,
    floor_quotient,
  };
})();

/**
 * The states of a run, step by step: first the one it begins with (t = 0), then one after each step.
 *
 * @param rule the value of a rule's text
 * @param h its hyperparameters
 * @param start the parameter to begin with, an array of numbers
 * @param gradient the gradient of step t at p, an array of numbers, from (t, p)
 * @param steps how many
 * @param project what makes of p, after a step, a point that is allowed
 */
function* trajectory(rule, h, start, gradient, steps, project = (p) => p) {
  const slots = Object.values(rule.slots ?? {});
  let p = [...start],
    state = slots.map((slot) => start.map(() => slot.initial ?? 0));
  let carried = Object.values(rule.carried ?? {});
  yield { t: 0, p, slots: state };
  for (let t = 1; t <= steps; t += 1) {
    if (rule.carry) carried = rule.carry(h, t, ...carried);
    const scalars = rule.scalars(h, t, ...carried),
      g = gradient(t, p);
    const moved = [],
      next = slots.map(() => []);
    for (let k = 0; k < p.length; k += 1) {
      const result = rule.update(p[k], g[k], ...state.map((each) => each[k]), ...scalars);
      moved.push(result[0]);
      next.forEach((each, slot) => each.push(result[slot + 1]));
    }
    [p, state] = [project(moved), next];
    yield { t, p, slots: state, scalars, g };
  }
}
