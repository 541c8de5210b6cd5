"use strict";
(function () {
  const source = document.getElementById("data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const list = document.getElementById("items");
  const count = document.getElementById("count");
  const filter = document.getElementById("filter");
  const mode = document.getElementById("mode");
  const words = document.getElementById("words");
  const more = document.getElementById("more");
  const PAGE = 20;
  let shown = PAGE;

  const make = (name, text, kind) => {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };
  const answer = (item, run, which) => (item.runs[run] || {})[which];
  const ok = (item, run, which) => Boolean((answer(item, run, which) || {}).ok);
  const generated = ["generate", "generate_sc", "cot", "medalpaca_legacy"];

  const tests = {
    all: () => true,
    wrong: (i, m) => !ok(i, data.runs[0], m),
    right: (i, m) => ok(i, data.runs[0], m),
    gained: (i, m) => data.runs.length > 1 && !ok(i, data.runs[0], m) && ok(i, data.runs[1], m),
    lost: (i, m) => data.runs.length > 1 && ok(i, data.runs[0], m) && !ok(i, data.runs[1], m),
    unparsed: (i) => data.runs.some((r) => generated.some((m) => {
      const a = answer(i, r, m);
      return a && a.pred === null;
    })),
    disagree: (i) => data.runs.some((r) => new Set(Object.values(i.runs[r] || {})
      .map((a) => a.pred)).size > 1),
    cut: (i) => data.runs.some((r) => Object.values(i.runs[r] || {}).some((a) => a.lost)),
    contaminated: (i) => i.contamination && i.contamination !== "none",
  };

  const card = (item) => {
    const box = make("div", undefined, "item");
    const facts = [item.step, item.number && "no. " + item.number, item.discipline,
      item.contamination && "contamination: " + item.contamination, item.id.slice(0, 12)];
    box.append(make("div", facts.filter(Boolean).join(" · "), "note"));
    box.append(make("p", item.question));
    for (const [label, text] of item.options) {
      box.append(make("div", label + ": " + text, label === item.answer ? "right" : ""));
    }
    const table = make("table");
    const head = make("tr");
    for (const name of ["run", "mode", "answer", "status", "response"]) head.append(make("th", name));
    table.append(head);
    for (const run of data.runs) {
      for (const [name, a] of Object.entries(item.runs[run] || {})) {
        const row = make("tr");
        row.append(make("td", run), make("td", name),
          make("td", (a.pred === null ? "none" : a.pred) + (a.ok ? " right" : " wrong"),
            a.ok ? "right" : "wrong"),
          make("td", [a.status, a.rule, a.lost && "cut: " + a.lost].filter(Boolean).join(", ")),
          make("td", a.text === null ? "" : a.text));
        table.append(row);
      }
    }
    const wide = make("div", undefined, "wide");
    wide.append(table);
    box.append(wide);
    for (const [prompt, asked] of item.prompts) {
      const fold = make("details");
      fold.append(make("summary", "prompt of " + asked.join(", ")), make("pre", prompt));
      box.append(fold);
    }
    return box;
  };

  const draw = () => {
    const wanted = words.value.toLowerCase();
    const found = data.items.filter((i) => tests[filter.value](i, mode.value) &&
      (!wanted || JSON.stringify(i).toLowerCase().includes(wanted)));
    list.replaceChildren(...found.slice(0, shown).map(card));
    count.textContent = found.length + " of " + data.items.length + " questions";
    more.hidden = found.length <= shown;
  };
  for (const name of data.modes) {
    const option = make("option", name);
    option.value = name;
    mode.append(option);
  }
  for (const control of [filter, mode, words]) {
    control.addEventListener("input", () => { shown = PAGE; draw(); });
  }
  more.addEventListener("click", () => { shown += PAGE; draw(); });
  draw();
})();
