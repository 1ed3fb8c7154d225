"use strict";
// Parts of a page name what they are by a data attribute; a page has any of them, or none.
const find = name => document.querySelector(`[data-${name}]`);
const sleep = ms => new Promise(go => setTimeout(go, ms));

async function asked(url, body, type) {
  // 202: the server still computes.
  for (;;) {
    const how = body === undefined ? {} : {method: "POST", body, headers: {"Content-Type": type}};
    const answer = await fetch(url, how);
    if (answer.status !== 202) return answer;
    await sleep(1000 * Number(answer.headers.get("Retry-After") || 1));
  }
}

async function sentence(answer) {
  const problem = await answer.json();
  return problem.detail + (problem.hint ? "\n" + problem.hint : "");
}

// What came later stands; an answer to an older question is dropped.
function newest(work) {
  let last = 0;
  return async () => {
    const mine = ++last;
    await sleep(250);
    if (mine === last) await work(() => mine === last);
  };
}

function say(text, kind) {
  const verdict = document.getElementById("verdict");
  verdict.textContent = text;
  verdict.className = "missing " + kind;
}

const live = find("live");
if (live) setInterval(async () => {
  if (document.hidden) return;
  const answer = await fetch(live.dataset.live).catch(() => null);
  if (!answer || !answer.ok) return;
  const focused = live.contains(document.activeElement);
  if (focused) return;
  live.innerHTML = await answer.text();
  for (const key of Object.keys(figures)) {
    if (!document.getElementById("figure-" + key)) delete figures[key];
  }
  Object.assign(figures, JSON.parse(live.querySelector(".fresh").textContent));
  draw();
}, 3000);

const pending = find("pending");
if (pending) asked(pending.dataset.pending).then(answer => {
  if (answer.ok) location.reload();
  else sentence(answer).then(text => { pending.textContent = "No recommendation yet: " + text; });
});

const confirming = find("confirm");
if (confirming) confirming.addEventListener("click", async () => {
  const answer = await asked(confirming.dataset.confirm, "");
  if (!answer.ok) return say(await sentence(answer), "bad");
  say(`${(await answer.json()).added} runs wait for workers.`, "good");
});

const create = find("create");
if (create) {
  const text = document.getElementById("study");
  const check = newest(async current => {
    const answer = await asked("/v1/studies:check", text.value, "application/yaml");
    if (!current()) return;
    if (!answer.ok) return say(await sentence(answer), "bad");
    const found = await answer.json();
    const size = `${found.space.domains} domains, ${found.space.phases.length} phases, ` +
      `${found.space.fractions.length} choices of fractions, ${found.initial} first trials.`;
    say([size, ...found.advice].join("\n"), "good");
  });
  text.addEventListener("input", check);
  check();
  create.addEventListener("submit", async event => {
    event.preventDefault();
    const answer = await asked("/v1/studies", text.value, "application/yaml");
    if (!answer.ok) return say(await sentence(answer), "bad");
    location.href = "/studies/" + (await answer.json()).name;
  });
}

const predict = find("predict");
if (predict) {
  const phases = [...predict.querySelectorAll("[data-phase]")];
  const sliders = phase => [...phase.querySelectorAll("input")];
  const number = x => x.toFixed(4);
  const show = newest(async current => {
    const wish = {
      fractions: phases.map(p => Number(p.querySelector("select").value)),
      weights: phases.map(p => sliders(p).map(s => Number(s.value))),
    };
    const answer = await asked(predict.dataset.predict, JSON.stringify(wish), "application/json");
    if (!current()) return;
    if (!answer.ok) return say(await sentence(answer), "bad");
    const found = await answer.json();
    settle(found.schedule);
    const rows = found.rows.map(r => [
      r.metric, number(r.predicted.mean),
      `[${number(r.predicted.low)}, ${number(r.predicted.high)}]`, number(r.baseline.mean),
      (r.predicted.mean > r.baseline.mean ? "+" : "") + number(r.predicted.mean - r.baseline.mean),
    ]);
    const table = document.getElementById("predictions");
    table.tBodies[0].replaceChildren(...rows.map(cells => {
      const row = document.createElement("tr");
      row.append(...cells.map(text => Object.assign(document.createElement("td"), {textContent: text})));
      return row;
    }));
    table.hidden = false;
    say("", "");
  });
  // The sliders move to the mixture that was predicted.
  const settle = schedule => phases.forEach((phase, i) => {
    const name = phase.querySelector("legend").textContent;
    const found = schedule.phases.find(p => p.name === name) || (i === 0 ? schedule.phases[0] : null);
    if (!found) return;
    phase.querySelectorAll("label").forEach((label, k) => {
      if (k === 0) return;
      const percent = 100 * (found.mixture[label.querySelector("span").textContent] || 0);
      label.querySelector("input").value = percent;
      label.querySelector("output").textContent = percent.toFixed(1) + " %";
    });
  });
  predict.addEventListener("input", event => {
    const row = event.target.closest("label");
    if (event.target.type === "range") row.querySelector("output").textContent = event.target.value + " %";
    show();
  });
  show();
}
