// Inside of a worker, below the text of one rule in `RULE`.
onmessage = ({ data }) => {
  try {
    const answer = data.job ? simulate(RULE, data.job) : description(RULE);
    postMessage({ id: data.id, answer });
  } catch (error) {
    postMessage({ id: data.id, error: `${error.name}: ${error.message}` });
  }
};
