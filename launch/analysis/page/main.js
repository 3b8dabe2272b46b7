// The page from top to bottom, and once more when its width or its theme changes.
"use strict";

function tiles(data) {
  const { tasks, nodes } = data;
  const figure = (name) => data.figures.find((one) => one.name === name);
  const done = tasks.state.filter((state) => state === "done").length;
  const again = tasks.lost.filter((times) => times > 0).length;
  const undone = tasks.id.length - done;
  const told = [[`${count(done)} / ${count(tasks.id.length)}`, undone ? `tasks done, ${count(undone)} not` : "tasks done", undone ? "bad" : "good", tasks.id.length ? done / tasks.id.length : 0]];
  if (figure("makespan")) {
    told.push([duration(figure("makespan").value), `makespan, ${figure("ratio").value.toFixed(2)} × the bound of ${duration(figure("lower bound").value)}`, "", 1 / figure("ratio").value]);
    told.push([figure("fairness").value.toFixed(2), "balance (1: all busy alike)", "", figure("fairness").value]);
    told.push([`${figure("utilisation").value.toFixed(0)} %`, "of slot time at work", "", figure("utilisation").value / 100]);
  }
  const gone = nodes.filter((node) => node.killed !== null);
  told.push([count(again), `awarded again${gone.length ? `; ${gone.map((node) => node.name).slice(0, 3).join(", ")} died` : ""}`, again ? "bad" : "", null]);
  const deaths = data.knew.filter((one) => one.state === "dead");
  if (deaths.length) told.push([duration(Math.max(...deaths.map((one) => one.all_s))), "until all knew of a death, after the first", "", null]);
  else told.push([figure("bids per task") ? figure("bids per task").value.toFixed(1) : "0", "bids per task", "", null]);
  const certified = data.batches.map((batch) => batch.certificate).filter((certificate) => certificate !== null);
  if (certified.length) told.push([within(Math.max(...certified)), `from the optimum at most: ${plural(data.batches.length, "batch", "batches")} divided by all`, "good", null]);
  $("#tiles").replaceChildren(...told.map(([value, words, kind, gauge]) => h("div", { class: `tile ${kind}` },
    h("b", { style: value.length > 8 ? "font-size:1.15rem" : false }, value), gauge === null ? null : h("div", { class: "gauge" }, h("i", { style: `width:${100 * clamp(gauge, 0, 1)}%` })), h("span", {}, words))));
}

function theme() {
  const button = $("#theme");
  const names = ["auto", "light", "dark"];
  let now = "auto";
  try { now = localStorage.getItem("parley-theme") || "auto"; } catch { /* a page from disk may have no storage */ }
  const set = (name) => {
    now = name;
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    try { localStorage.setItem("parley-theme", name); } catch { /* as above */ }
  };
  set(names.includes(now) ? now : "auto");
  button.addEventListener("click", () => { set(names[(names.indexOf(now) + 1) % 3]); dispatchEvent(new Event("redraw")); });
}

async function main() {
  theme();
  const data = await unpacked("data");
  const card = new Card(data);
  const open = (place) => card.open(place);
  const began = data.began.replace("T", " ").replace("+00:00", " UTC");
  $("#run").textContent = data.run;
  $("#about").textContent = `${plural(data.nodes.length, "node")}, ${plural(data.tasks.id.length, "task")}, ${plural(data.lines, "line")} of log from ${began}, ${duration(data.span / data.ticks_per_s)} long`;
  $("#foot").textContent = `Made by parley report from ${data.path}. Times are seconds since the first line, by each node's own clock.`;
  if (data.notes.length) $("#notes").replaceChildren(...data.notes.map((note) => h("li", {}, note)));
  $("#notes").hidden = !data.notes.length;
  tiles(data);
  const gantt = new Gantt(data, open);
  gantt.legend();
  const matrix = new Matrix(data, open);
  drawLoad(data);
  drawShares(data);
  drawMembers(data);
  drawKnew(data);
  drawBatches(data);
  drawFigures(data);
  const list = new Tasks(data, open);
  const redraw = () => {
    gantt.draw();
    matrix.draw();
    drawLoad(data);
    drawShares(data);
    drawMembers(data);
  };
  addEventListener("redraw", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
  const linked = /^#task=(.+)$/.exec(location.hash);
  const place = linked ? data.tasks.id.indexOf(decodeURIComponent(linked[1])) : -1;
  if (place >= 0) open(place);
  window.parley = { data, gantt, matrix, list, card };
  document.documentElement.dataset.ready = "yes";
}

main().catch((error) => {
  $("#run").textContent = "This page cannot be drawn here";
  $("#about").textContent = `${error}. A browser of 2023 or newer is needed; parley why TASK tells of a task in a terminal.`;
});
