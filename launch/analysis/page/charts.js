// The other pictures: slots at work and each node's share, the bid matrix, the members as the others saw them.
"use strict";

const LOAD_BINS = 240;
const KNEW_SHOWN = 15;

/** Slots at work over time, a band per node. */
function drawLoad(data) {
  const [from, to] = data.work;
  const bin = Math.max((to - from) / LOAD_BINS, 1);
  const bands = data.nodes.map(() => new Float64Array(LOAD_BINS));
  const { attempts } = data;
  attempts.start.forEach((start, place) => {
    const band = bands[attempts.node[place]];
    const end = start + attempts.length[place];
    for (let at = Math.max(Math.floor((start - from) / bin), 0); at < LOAD_BINS && from + at * bin < end; at += 1) {
      band[at] += Math.max(Math.min(end, from + (at + 1) * bin) - Math.max(start, from + at * bin), 0) / bin;
    }
  });
  const slots = data.nodes.reduce((sum, node) => sum + node.slots, 0);
  const [width, height, left, bottom] = [Math.max($("#load").clientWidth, 260), 210, 26, 22];
  const x = (at) => left + (at / LOAD_BINS) * (width - left);
  const y = (value) => 6 + (1 - value / slots) * (height - bottom - 6);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Slots at work over time, by node" });
  for (const value of new Set([0, Math.ceil(slots / 2), slots])) {
    drawing.append(svg("line", { x1: left, x2: width, y1: y(value), y2: y(value), stroke: "var(--line)" }));
    drawing.append(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value));
  }
  const base = new Float64Array(LOAD_BINS);
  bands.forEach((band, place) => {
    let [upper, lower] = ["", ""];
    for (let at = 0; at < LOAD_BINS; at += 1) {
      const top = base[at] + band[at];
      upper += `L${x(at).toFixed(1)} ${y(top).toFixed(1)}L${x(at + 1).toFixed(1)} ${y(top).toFixed(1)}`;
      lower = `L${x(at + 1).toFixed(1)} ${y(base[at]).toFixed(1)}L${x(at).toFixed(1)} ${y(base[at]).toFixed(1)}${lower}`;
      base[at] = top;
    }
    const area = svg("path", { d: `M${upper.slice(1)}${lower}Z`, fill: `var(--${colorName(place)})`, "fill-opacity": 0.85 });
    area.append(svg("title", {}, `${data.nodes[place].name}: busy for ${duration(data.nodes[place].busy_s)}`));
    drawing.append(area);
  });
  const per = data.ticks_per_s;
  const { ticks, digits } = ticksOf(from / per, to / per, width / 80);
  for (const at of ticks) {
    const place = left + ((at * per - from) / (to - from || 1)) * (width - left);
    drawing.append(svg("text", { x: clamp(place, left + 10, width - 12), y: height - 6, "text-anchor": "middle" }, `${at.toFixed(digits)} s`));
  }
  $("#load").replaceChildren(drawing);
}

/** Busy seconds by node, against the mean, and the balance as one number. */
function drawShares(data) {
  const mean = data.nodes.reduce((sum, node) => sum + node.busy_s, 0) / Math.max(data.nodes.length, 1);
  const most = Math.max(...data.nodes.map((node) => node.busy_s), 1e-9);
  const shown = data.nodes.slice(0, 32);
  const [width, row, left, right] = [Math.max($("#shares").clientWidth, 260), shown.length > 12 ? 16 : 24, 92, 140];
  const height = shown.length * row + 22;
  const x = (seconds) => left + (seconds / most) * (width - left - right);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Busy seconds by node" });
  shown.forEach((node, place) => {
    const y = place * row;
    drawing.append(
      svg("text", { x: 0, y: y + row / 2 + 4, class: "strong" }, node.name.length > 9 ? `${node.name.slice(0, 8)}…` : node.name),
      svg("text", { x: left - 8, y: y + row / 2 + 4, "text-anchor": "end" }, `× ${node.speed}`),
      svg("rect", { x: left, y: y + 3, width: Math.max(x(node.busy_s) - left, 1), height: row - 6, rx: 2, fill: `var(--${colorName(place)})` }),
      svg("text", { x: width, y: y + row / 2 + 4, "text-anchor": "end" }, `${duration(node.busy_s)}, ${plural(node.done, "task")}`),
    );
  });
  drawing.append(
    svg("line", { x1: x(mean), x2: x(mean), y1: 0, y2: height - 20, stroke: "var(--ink)", "stroke-dasharray": "3 3" }),
    svg("text", { x: x(mean), y: height - 6, "text-anchor": "middle" }, `mean ${duration(mean)}`),
  );
  $("#shares").replaceChildren(drawing);
  const imbalance = data.figures.find((figure) => figure.name === "imbalance");
  const words = imbalance ? `, the busiest ${imbalance.value.toFixed(2)} times the mean` : "";
  const more = data.nodes.length > shown.length ? ` (the first ${shown.length} of ${data.nodes.length} nodes)` : "";
  $("#balance-words").textContent = `Busy seconds${words}${more}`;
}

/** Nodes down, awards across; the stronger the nearer to the least bid, a dot where it won. */
class Matrix {
  constructor(data, open) {
    this.data = data;
    this.open = open;
    this.canvas = $("#matrix");
    const { matrix } = data;
    const many = matrix.per_column > 1;
    $("#bids-words").textContent = matrix.at.length
      ? `${many ? `A column is ${matrix.per_column} awards that followed each other` : "A column is an award"}, in the order in which they were made; the stronger its colour, the nearer to the least bid, a mark where it won${many ? ", the larger the more often" : ""}.`
      : "No award is in these logs.";
    this.canvas.hidden = !matrix.at.length;
    this.canvas.setAttribute("aria-label", `Bids of ${data.nodes.length} nodes in ${matrix.at.length} columns of awards`);
    this.canvas.addEventListener("mousemove", (event) => this.hover(event));
    this.canvas.addEventListener("mouseleave", () => tip.hide());
    this.canvas.addEventListener("click", (event) => {
      const [column] = this.at(event);
      if (column !== null) this.open(matrix.task[column]);
    });
    this.draw();
  }

  draw() {
    const { matrix, nodes } = this.data;
    if (!matrix.at.length) return;
    this.row = clamp(Math.floor(300 / nodes.length), 8, 26);
    const { pen, width } = canvas(this.canvas, nodes.length * this.row + 4);
    this.left = width < 560 ? 62 : 104;
    this.cell = Math.min((width - this.left - 4) / matrix.at.length, 26);
    const [near, far, track, mark, ink] = [color("near"), color("far"), color("track"), color("mark"), color("ink")];
    nodes.forEach((node, row) => {
      const y = row * this.row;
      pen.fillStyle = ink;
      pen.textAlign = "left";
      if (this.row > 9) pen.fillText(cut(pen, node.name, this.left - 8), 0, y + this.row / 2);
      matrix.relative.forEach((bids, column) => {
        const x = this.left + column * this.cell;
        const size = [Math.max(this.cell - (this.cell > 4 ? 1 : 0), 0.6), this.row - 1];
        const bid = bids[row];
        pen.fillStyle = bid === null ? track : far;
        pen.fillRect(x, y, ...size);
        if (bid !== null) {
          pen.globalAlpha = clamp(1 - Math.log2(bid / 100) / 2, 0, 1);
          pen.fillStyle = near;
          pen.fillRect(x, y, ...size);
          pen.globalAlpha = 1;
        }
        const won = matrix.wins[column][row];
        if (won) {
          const share = Math.sqrt(won / matrix.wins[column].reduce((sum, times) => sum + times, 0));
          pen.fillStyle = "#ffffff";
          pen.strokeStyle = mark === "#ffffff" ? "#121417" : mark;
          pen.beginPath();
          pen.arc(x + size[0] / 2, y + size[1] / 2, clamp(Math.min(size[0], size[1]) * 0.24 * share, 1, 4.5), 0, 7);
          pen.fill();
          if (this.cell > 7) pen.stroke();
        }
      });
    });
    $("#matrix-legend").replaceChildren(
      h("span", {}, "the best bid ", h("i", { class: "ramp", style: "width:110px;background:linear-gradient(90deg,var(--near),var(--far))" }), "four times as dear"),
      h("span", {}, h("i", { style: "background:#fff;border:1.5px solid var(--soft);border-radius:50%" }), "won"),
      h("span", {}, h("i", { style: "background:var(--track)" }), "did not bid"),
    );
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - this.left) / this.cell);
    const row = Math.floor((event.clientY - box.top) / this.row);
    const inside = column >= 0 && column < this.data.matrix.at.length && row >= 0 && row < this.data.nodes.length;
    return inside ? [column, row] : [null, null];
  }

  hover(event) {
    const [column, row] = this.at(event);
    this.canvas.classList.toggle("over", column !== null);
    if (column === null) { tip.hide(); return; }
    const { matrix, nodes, tasks, ticks_per_s: per } = this.data;
    const bid = matrix.relative[column][row];
    const told = bid === null ? "did not bid" : bid === 100 ? "bid least" : `bid ${(bid / 100).toFixed(2)} times the least`;
    const won = matrix.wins[column][row];
    const wins = matrix.per_column > 1 ? `, won ${won} of ${matrix.wins[column].reduce((sum, times) => sum + times, 0)}` : won ? ", and won" : "";
    const from = matrix.per_column > 1 ? "from " : "";
    tip.show(`${nodes[row].name} ${told}${wins}\n${from}${tasks.id[matrix.task[column]]} at ${(matrix.at[column] / per).toFixed(3)} s`, event);
  }
}

const PRESENCE = { alive: "var(--good)", suspect: "var(--c2)", dead: "var(--bad)", left: "var(--soft)" };

/** A row per node that others told of: what the first of them thought, and a tick for each who came to think so. */
function drawMembers(data) {
  const peers = [...new Set(data.changes.map((change) => change[2]))].sort();
  if (!peers.length) {
    $("#membership").replaceChildren(h("p", { class: "muted" }, "These logs tell of no change."));
    return;
  }
  const shown = peers.slice(0, 40);
  const [width, row, left, bottom] = [Math.max($("#membership").clientWidth, 260), 22, 92, 22];
  const height = shown.length * row + bottom;
  const per = data.ticks_per_s;
  const x = (ticks) => left + (ticks / (data.span || 1)) * (width - left - 6);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "What the nodes thought of each other over time" });
  shown.forEach((peer, place) => {
    const y = place * row;
    drawing.append(svg("text", { x: 0, y: y + row / 2 + 4, class: "strong" }, peer.length > 12 ? `${peer.slice(0, 11)}…` : peer));
    const changes = data.changes.filter((change) => change[2] === peer);
    const first = changes.filter((change, at) => at === 0 || change[3] !== changes[at - 1][3]);
    first.forEach((change, at) => {
      const until = at + 1 < first.length ? first[at + 1][0] : data.span;
      const band = svg("rect", {
        x: x(change[0]), y: y + 6, width: Math.max(x(until) - x(change[0]), 1), height: row - 12, rx: 2,
        fill: PRESENCE[change[3]] || "var(--soft)", "fill-opacity": change[3] === "left" ? 0.35 : 0.8,
      });
      band.append(svg("title", {}, `${peer} counts as ${change[3]} from ${duration(change[0] / per)}: ${change[4]}`));
      drawing.append(band);
    });
    for (const change of changes.slice(0, 400)) {
      drawing.append(svg("line", { x1: x(change[0]), x2: x(change[0]), y1: y + 2, y2: y + row - 2, stroke: PRESENCE[change[3]] || "var(--soft)" }));
    }
  });
  const { ticks, digits } = ticksOf(0, data.span / per, width / 100);
  for (const at of ticks) {
    drawing.append(svg("text", { x: clamp(x(at * per), left + 8, width - 14), y: height - 6, "text-anchor": "middle" }, `${at.toFixed(digits)} s`));
  }
  const legend = h("div", { class: "legend" }, ...Object.entries(PRESENCE).map(([state, fill]) => h("span", {}, h("i", { style: `background:${fill}` }), state)),
    h("span", {}, "a tick: another node came to know it"));
  $("#membership").replaceChildren(drawing, legend);
}

function drawKnew(data) {
  const told = data.knew.filter((one) => one.state !== "alive").slice(0, KNEW_SHOWN);
  const others = data.knew_in_all - told.length;
  $("#knew").replaceChildren(
    h("thead", {}, h("tr", {}, ...["Node", "Counts as", "First known", "To all within", "By", "Why"].map((name) => h("th", {}, name)))),
    h("tbody", {}, ...told.map((one) => h("tr", {},
      h("td", {}, one.peer), h("td", {}, h("span", { class: `state ${one.state}` }, one.state)), h("td", { class: "num" }, duration(one.first_s)), h("td", { class: "num" }, duration(one.all_s)),
      h("td", { class: "num" }, plural(one.observers, "node")), h("td", { class: "muted" }, one.reason)))),
  );
  $("#more-knew").textContent = others > 0 ? `and ${plural(others, "more change")}, the times that nodes met among them` : "";
}

const within = (certificate) => (certificate === null ? "no bound" : `${+(100 * certificate).toPrecision(2)} %`);

function drawBatches(data) {
  $("#divided").hidden = !data.batches.length;
  $("#batches").replaceChildren(
    h("thead", {}, h("tr", {}, ...["At", "Desk", "Tasks", "Nodes", "How", "Makespan", "Bound", "Optimum within", "Traded", "Moved"].map((name) => h("th", {}, name)))),
    h("tbody", {}, ...data.batches.map((one) => h("tr", {},
      h("td", { class: "num" }, duration(one.at_s)), h("td", {}, one.desk), h("td", { class: "num" }, count(one.tasks)), h("td", { class: "num" }, count(one.members)),
      h("td", { class: "muted" }, `${one.rounds === null ? "gossip" : plural(one.rounds, "round")} in ${duration(one.seconds)}`),
      h("td", { class: "num" }, duration(one.value_s)), h("td", { class: "num" }, duration(one.bound_s)), h("td", { class: "num" }, within(one.certificate)),
      h("td", { class: "num" }, count(one.traded)), h("td", { class: "num" }, count(one.moved))))),
  );
}

function drawFigures(data) {
  const value = ({ value: number, unit }) => {
    if (unit === "s") return duration(number);
    if (unit === "B") return size(number);
    return unit === "%" ? `${number.toFixed(1)} %` : number.toFixed(number < 100 ? 3 : 1);
  };
  $("#figures-table").replaceChildren(
    h("thead", {}, h("tr", {}, h("th", {}, "Figure"), h("th", { class: "right" }, "Value"), h("th", {}, "How"), h("th", {}, "What it is"))),
    h("tbody", {}, ...data.figures.map((figure) => h("tr", {},
      h("td", {}, figure.name), h("td", { class: "right num" }, value(figure)), h("td", {}, h("code", {}, figure.formula)), h("td", { class: "muted" }, figure.words)))),
  );
}
