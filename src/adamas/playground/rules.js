// Rules at work: each text in a worker of its own, so that one that never ends or throws harms nothing else.

const OWN = "your own";

class Runner {
  constructor(text) {
    const parts = [`const RULE = (\n${text}\n);`, at("#shared").textContent, at("#worker").textContent];
    this.address = URL.createObjectURL(new Blob([parts.join("\n")], { type: "text/javascript" }));
    this.waiting = new Map();
    this.next = 0;
    this.start();
  }

  start() {
    this.worker = new Worker(this.address);
    this.worker.onmessage = ({ data }) => this.settle(data.id, data.error, data.answer);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.end(`${event.message.replace(/^Uncaught /, "")} (line ${Math.max(event.lineno - 1, 1)})`);
    };
  }

  settle(id, error, answer) {
    const waiting = this.waiting.get(id);
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this.waiting.delete(id);
    if (error) waiting.reject(new Error(error));
    else waiting.resolve(answer);
  }

  end(message) {
    this.worker.terminate();
    for (const id of [...this.waiting.keys()]) this.settle(id, message);
    this.worker = null;
  }

  // The answer to a job, a run; without a job, what the rule says of itself.
  ask(job) {
    if (!this.worker) this.start();
    const id = (this.next += 1);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.end("it takes too long: a loop without end?"), this.patience);
      this.waiting.set(id, { resolve, reject, timer });
      this.worker.postMessage({ id, job });
    });
  }
}

// Milliseconds until a worker that does not answer is given up.
Runner.prototype.patience = 5000;

const runners = new Map();

// Ends the worker of a text that is not needed any more.
function forget(text) {
  if (runners.get(text)?.worker) runners.get(text).end("it was replaced");
  runners.delete(text);
}

function runner(text) {
  if (!runners.has(text)) runners.set(text, new Runner(text));
  return runners.get(text);
}

// Which of the texts of a rule is for the options and numbers of a lane; -1 where none is.
function variant(lane) {
  return RULES[lane.rule].findIndex(
    (rule) =>
      Object.entries(rule.variant).every(
        ([name, value]) => typeof value === "number" || lane.options[name] === value,
      ) &&
      (!rule.holds || rule.holds(lane.h)),
  );
}

// The options of a rule, each with its values, and its numbers, each with the first value.
function fields(name) {
  if (name === OWN) return { options: {}, numbers: own.known?.hyperparameters ?? {} };
  const options = {},
    numbers = {};
  for (const rule of RULES[name]) {
    for (const [key, value] of Object.entries(rule.variant)) {
      if (typeof value !== "number") options[key] = [...new Set([...(options[key] ?? []), value])];
    }
    for (const [key, value] of Object.entries(rule.hyperparameters)) numbers[key] ??= value;
  }
  return { options, numbers };
}

// The α, and what else, at which a rule shows something on a function.
function rates(name, f, h) {
  if (!("lr" in h) || FIRST.includes(name) || name === OWN) return {};
  const found = FUNCTIONS[f].rates[name] ?? FUNCTIONS[f].rates[""];
  return typeof found === "number" ? { lr: found } : found;
}

function lane(name, f) {
  const { options, numbers } = fields(name);
  const made = { rule: name, options: {}, h: { ...numbers } };
  for (const [key, values] of Object.entries(options)) made.options[key] = values[0];
  Object.assign(made.h, rates(name, f, made.h));
  return made;
}

// The bounds that papers print on |Δ| / α. Adam's, of section 2.1, is of the corrected moments.
const BOUNDS = {
  Adam: ({ h, options }) =>
    options.bias_correction ? Math.max(1, (1 - h.beta1) / Math.sqrt(1 - h.beta2)) : NaN,
  AdaMax: () => 1,
  Lion: () => 1,
};
