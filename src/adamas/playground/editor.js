// A rule that the visitor writes, or that an address has brought; run only when asked.

const own = { text: "", known: null };

const editor = (() => {
  const area = at("#text"),
    template = at("#template"),
    said = at("#own-said");

  // `run` is called once the rule is known to be one.
  function setUp(text, run) {
    template.append(element("option", { textContent: "…", value: "" }));
    for (const name of Object.keys(TEXTS))
      template.append(element("option", { textContent: name, value: name }));
    template.addEventListener("change", () => {
      if (template.value) put(TEXTS[template.value][0]);
      template.value = "";
    });
    at("#run-own").addEventListener("click", () => tried(run));
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) tried(run);
    });
    area.addEventListener("input", () => say("", false));
    bring(text);
  }

  function put(text) {
    area.value = text;
    say("", false);
  }

  // A text from an address: shown, and not run.
  function bring(text) {
    own.known = null;
    own.text = text;
    at("#stranger").hidden = !text;
    put(text || TEXTS[FIRST[0] ?? "Adam"][0]);
  }

  function say(text, bad) {
    said.textContent = text;
    said.classList.toggle("bad", bad);
  }

  async function tried(run) {
    const text = area.value.trim().replace(/;$/, "");
    say("…", false);
    try {
      const known = await runner(text).ask(null);
      if (own.text !== text) forget(own.text);
      own.text = text;
      own.known = known;
      at("#stranger").hidden = true;
      say(`${known.name} runs as one of the rules above.`, false);
      run();
    } catch (error) {
      say(error.message, true);
    }
  }

  return { setUp, bring };
})();
