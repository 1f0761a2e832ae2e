"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const runs = new Map(data.runs.map((run) => [run.id, run]));
  const byId = (id) => document.getElementById(id);
  const body = document.querySelector("#table tbody");
  const rows = [...body.rows];
  const collator = new Intl.Collator("en", { numeric: true });

  // Everything is put in as text: no record can bring markup.
  const node = (tag, text = "", attributes = {}) => {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const filled = (tag, children, attributes = {}) => {
    const made = node(tag, "", attributes);
    made.append(...children);
    return made;
  };
  const table = (caption, headings, lines) => {
    const head = filled("thead", [filled("tr", headings.map((text, at) => node("th", text, { scope: "col", ...(at ? { class: "wrap" } : {}) })))]);
    const made = filled("table", [filled("caption", [node("span", caption)]), head, filled("tbody", lines)]);
    return filled("div", [made], { class: "scroll", role: "region", tabindex: "0", "aria-label": caption });
  };

  // Sorting. Gaps go last in both directions.
  const sortValue = (row, column, kind) => {
    const cell = row.cells[column];
    const raw = cell.dataset.value ?? cell.textContent.trim();
    if (raw === "") return null;
    return kind === "number" ? (raw === "inf" ? Infinity : Number(raw)) : raw;
  };
  const sortBy = (button) => {
    const heading = button.closest("th");
    const kind = button.dataset.kind;
    const up = heading.getAttribute("aria-sort") !== "ascending";
    const column = heading.cellIndex;
    const keyed = rows.map((row) => [sortValue(row, column, kind), row]);
    keyed.sort(([one], [two]) => {
      if (one === null || two === null) return (one === null) - (two === null);
      const order = kind === "number" ? (one > two) - (one < two) : collator.compare(one, two);
      return up ? order : -order;
    });
    for (const other of heading.parentElement.cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...keyed.map(([, row]) => row));
  };
  for (const button of document.querySelectorAll(".sort")) button.addEventListener("click", () => sortBy(button));

  // Filtering: every word must be found, every chosen value must be the run's.
  const filters = [...document.querySelectorAll("[data-filter]")];
  const filter = () => {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = words.every((word) => row.dataset.words.includes(word)) &&
        filters.every((choice) => choice.value === "" || row.dataset[choice.dataset.filter] === choice.value);
      row.hidden = !fits;
      shown += fits;
    }
    byId("count").textContent = `${shown} of ${rows.length} runs`;
  };
  byId("search").addEventListener("input", filter);
  for (const choice of filters) choice.addEventListener("change", filter);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());

  // Ticking and comparing.
  const ticked = () => rows.filter((row) => row.querySelector(".tick").checked).map((row) => runs.get(row.dataset.run));
  const refresh = () => {
    const chosen = ticked();
    for (const row of rows) row.classList.toggle("ticked", row.querySelector(".tick").checked);
    byId("compare").disabled = chosen.length < 2;
    byId("compare").textContent = chosen.length < 2 ? "Compare ticked runs" : `Compare ${chosen.length} runs`;
    byId("clear").disabled = chosen.length === 0;
    if (chosen.length < 2) byId("comparison").hidden = true;
    else if (!byId("comparison").hidden) compare();
  };
  body.addEventListener("change", (event) => { if (event.target.classList.contains("tick")) refresh(); });
  byId("clear").addEventListener("click", () => {
    for (const row of rows) row.querySelector(".tick").checked = false;
    refresh();
  });
  byId("compare").addEventListener("click", () => {
    byId("comparison").hidden = false;
    compare();
    byId("comparison-title").focus({ preventScroll: true });
    byId("comparison").scrollIntoView();
  });
  byId("metric").addEventListener("change", () => numbers(ticked()));

  const keys = Object.keys(data.common);
  const lacking = data.lacking.map((places) => new Set(places.map((at) => keys[at])));
  const valueOf = (run, key) => lacking[run.lacks].has(key) ? null : run.own[key] ?? data.common[key];
  const label = (run) => `${run.id} ${run.artefact}, seed ${run.seed}`;

  const compare = () => {
    const chosen = ticked();
    const had = byId("metric").value;
    const known = new Set(chosen.flatMap((run) => run.arms.flatMap((arm) => Object.keys(arm.metrics).map(Number))));
    const choices = data.metrics.map((metric, at) => [metric, at]).filter(([, at]) => known.has(at));
    byId("metric").replaceChildren(...choices.map(([metric, at]) => node("option", `${metric.heading} (${metric.name})`, { value: at })));
    byId("metric").value = known.has(Number(had)) && had !== "" ? had : String(chosen[0].primary ?? choices[0]?.[1] ?? "");
    numbers(chosen);
    differences(chosen);
    losses(chosen);
  };

  const numberCell = (found) => {
    if (!found || found[0] === "") return node("td", "", { class: "num" });
    const [value, ...rest] = found[0].split(" [");
    const made = node("td", value, { class: "num" });
    if (rest.length) made.append(" ", node("span", `[${rest.join(" [")}`, { class: "ci" }));
    made.append(" ", node("span", `n ${found[2]}`, { class: "ci n" }));
    return made;
  };
  // Two digits of what is below one (a cosine, a share of weights); five are known of each number.
  const signed = (one, other, metric) => {
    const known = 1e-4 * Math.max(Math.abs(one), Math.abs(other));
    const apart = Math.abs(other - one) < known ? 0 : other - one;
    const loss = metric.name === "train_loss";
    const small = !loss && apart !== 0 && Math.abs(apart) < 1;
    const text = small ? Number(apart.toPrecision(2)).toString() : apart.toFixed(loss ? 3 : 1);
    return `${apart > 0 ? "+" : ""}${text}`;
  };
  const numbers = (chosen) => {
    const metric = data.metrics[Number(byId("metric").value)];
    const at = byId("metric").value;
    const names = [...new Set(chosen.flatMap((run) => run.arms.map((arm) => arm.name)))];
    const found = (run, name) => run.arms.find((arm) => arm.name === name)?.metrics[at];
    const two = chosen.length === 2;
    const lines = names.filter((name) => chosen.some((run) => found(run, name))).map((name) => {
      const cells = chosen.map((run) => found(run, name));
      const line = filled("tr", [node("th", name, { scope: "row" }), ...cells.map(numberCell)]);
      if (two) {
        const [one, other] = cells.map((cell) => cell?.[1]);
        const both = typeof one === "number" && typeof other === "number";
        line.append(node("td", both ? signed(one, other, metric) : "", { class: "num" }));
      }
      return line;
    });
    const caption = `${metric.heading}, each run's value with its interval and n`;
    const made = table(caption, ["arm", ...chosen.map(label), ...(two ? ["second less first"] : [])], lines);
    for (const head of made.querySelectorAll("thead th:not(:first-child)")) head.className = "num";
    byId("numbers").replaceChildren(made);
  };

  const differences = (chosen) => {
    const apart = keys.filter((key) => new Set(chosen.map((run) => valueOf(run, key))).size > 1);
    const lines = apart.map((key) => filled("tr", [
      node("th", key, { scope: "row" }),
      ...chosen.map((run) => filled("td", [node("div", valueOf(run, key) ?? "not set")], { class: "wrap" })),
    ]));
    const same = keys.length - apart.length;
    byId("differences").replaceChildren(
      table(`${apart.length} of ${keys.length} entries differ; ${same} are the same in all ticked runs`, ["entry", ...chosen.map(label)], lines));
  };

  // Loss curves of the ticked runs, by run; drawn as those of the settings below.
  const svg = (tag, attributes, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };
  const steps = (low, high) => {
    const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((by) => by * power).find((size) => size >= rough * (1 - 1e-9));
    const made = [];
    for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + 1e-9; value += step) made.push(value);
    return made;
  };
  const losses = (chosen) => {
    const lines = chosen.flatMap((run, at) => run.arms
      .filter((arm) => arm.losses && !/\/(random|matched|shifted|normed)\//.test(arm.name))
      .map((arm) => ({ at, arm: arm.name, run, points: arm.losses.filter(([, loss]) => typeof loss === "number") })))
      .filter((line) => line.points.length > 1);
    if (!lines.length) { byId("losses").replaceChildren(); return; }
    const all = lines.flatMap((line) => line.points);
    const last = Math.max(...all.map(([step]) => step));
    const low = Math.min(...all.map(([, loss]) => loss)), high = Math.max(...all.map(([, loss]) => loss));
    const room = (high - low) * 0.06 || 0.1;
    const across = (step) => 40 + (step - 1) / Math.max(last - 1, 1) * 506;
    const up = (loss) => 250 - (loss - low + room) / (high - low + 2 * room) * 240;
    const picture = svg("svg", { viewBox: "0 0 560 290", role: "img", "aria-label": "Training loss of the ticked runs" });
    const levels = steps(low, high), digits = [0, 1, 2, 3, 4, 5, 6].find((n) => levels.every((value) => Math.abs(value - value.toFixed(n)) < 1e-9)) ?? 6;
    for (const value of levels) picture.append(svg("path", { d: `M40 ${up(value)}H546`, class: "grid" }), svg("text", { x: 32, y: up(value) + 4, class: "axis end" }, value.toFixed(digits)));
    for (const value of steps(1, Math.max(last, 2))) picture.append(svg("text", { x: across(value), y: 266, class: "axis middle" }, value.toFixed(0)));
    picture.append(svg("text", { x: 546, y: 286, class: "axis end" }, "step"));
    for (const line of lines) {
      const path = svg("path", { d: "M" + line.points.map(([step, loss]) => `${across(step).toFixed(1)} ${up(loss).toFixed(1)}`).join("L"), class: `curve c${line.at % 7}` });
      path.append(svg("title", {}, `${line.arm}, ${label(line.run)}`));
      picture.append(path);
    }
    const drawn = new Set(lines.map((line) => line.at));
    const legend = filled("ul", chosen.map((run, at) => [run, at]).filter(([, at]) => drawn.has(at)).map(([run, at]) => {
      const mark = svg("svg", { viewBox: "-9 -7 18 14", "aria-hidden": "true" });
      mark.append(svg("path", { d: "M-8 0h16", class: `line c${at % 7}` }));
      return filled("li", [mark, label(run)]);
    }), { class: "legend", "aria-label": "Legend" });
    byId("losses").replaceChildren(filled("figure", [picture, legend, node("figcaption", "Training loss by step: a colour and dash per run, a line per arm; controls left out.")], { class: "chart" }));
  };

  // One run in full.
  const dialog = byId("run");
  const open = (id) => {
    const run = runs.get(id);
    byId("run-title").textContent = label(run);
    const lines = keys.filter((key) => valueOf(run, key) !== null).map((key) => filled("tr", [node("th", key, { scope: "row" }), filled("td", [node("div", valueOf(run, key))], { class: "wrap" })]));
    const metrics = run.arms.flatMap((arm) => Object.entries(arm.metrics).map(([at, found]) =>
      filled("tr", [node("th", arm.name, { scope: "row" }), node("td", data.metrics[at].heading), node("td", data.metrics[at].name), numberCell(found)])));
    byId("run-body").replaceChildren(
      table("Everything measured", ["arm", "quantity", "name in the record", "value, interval, n"], metrics),
      table("What it was made of", ["entry", "value"], lines));
    dialog.showModal();
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-open]");
    if (button) open(button.dataset.open);
    else if (event.target === dialog) dialog.close();
  });

  // A printed page shows everything.
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const item of closed) item.open = true;
  });
  window.addEventListener("afterprint", () => { for (const item of closed) item.open = false; });
})();
