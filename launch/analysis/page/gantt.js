// Who did what, when: a row per slot, a bar per attempt, what was lost and where it was offered again.
"use strict";

const ARROWS_MAX = 60;
const MARKS_MAX = 600;

class Gantt {
  constructor(data, open) {
    this.data = data;
    this.open = open;
    this.canvas = $("#gantt");
    this.rows = [];
    data.nodes.forEach((node, place) => {
      for (let slot = 0; slot < node.slots; slot += 1) this.rows.push({ node: place, slot });
    });
    this.first = data.nodes.map((_, place) => this.rows.findIndex((row) => row.node === place));
    this.rowHeight = clamp(Math.floor(560 / Math.max(this.rows.length, 1)), 7, 30);
    const { attempts } = data;
    this.half = clamp(this.rowHeight / 2 - 1, 3, 6); // of the mark of a trade
    this.byRow = this.rows.map(() => []);
    attempts.start.forEach((_, place) => this.byRow[this.rowOf(place)].push(place));
    this.again = this.offeredAgain();
    this.traded = this.ranAfterTrade();
    this.fit();
    this.listen();
    const lost = attempts.reason.filter((reason) => data.reasons[reason] !== "").length;
    this.canvas.setAttribute("aria-label", `${plural(attempts.start.length, "attempt")} on ${plural(data.nodes.length, "node")}, ${lost} of them lost. The table of tasks below has them all.`);
  }

  rowOf(attempt) { return this.first[this.data.attempts.node[attempt]] + this.data.attempts.slot[attempt]; }

  /** Pairs of a lost attempt and the next one of its task. */
  offeredAgain() {
    const { attempts, reasons } = this.data;
    const last = new Map();
    const pairs = [];
    attempts.task.forEach((task, place) => {
      const before = last.get(task);
      if (before !== undefined && reasons[attempts.reason[before]] !== "") pairs.push([before, place]);
      last.set(task, place);
    });
    return pairs;
  }

  /** For each attempt that a trade has brought to its node, the last one: when, and from where (-1: a node that was gone). */
  ranAfterTrade() {
    const { attempts, trades } = this.data;
    const ofTask = new Map();
    for (const [at, task, origin, to] of trades) ofTask.set(task, [...(ofTask.get(task) || []), { at, origin, to }]);
    const found = new Map();
    attempts.task.forEach((task, place) => {
      const before = (ofTask.get(task) || []).filter(({ at }) => at <= attempts.start[place]);
      const last = before.reduce((one, other) => (one && one.at > other.at ? one : other), null);
      if (last && last.to === attempts.node[place]) found.set(place, last);
    });
    return found;
  }

  fit() {
    const [from, to] = this.data.work;
    const room = Math.max((to - from) * 0.015, 10);
    this.look(from - room, to + room);
  }

  all() { this.look(0, this.data.span); }

  look(from, to) {
    const least = 20;
    const span = clamp(to - from, least, Math.max(this.data.span * 1.1, least));
    const start = clamp(from, -0.05 * this.data.span, Math.max(this.data.span * 1.05 - span, 0));
    this.from = start;
    this.to = start + span;
    this.draw();
  }

  zoom(times, around) {
    const middle = around === undefined ? (this.from + this.to) / 2 : around;
    this.look(middle - (middle - this.from) * times, middle + (this.to - middle) * times);
  }

  x(ticks) { return this.left + ((ticks - this.from) / (this.to - this.from)) * (this.width - this.left - 4); }
  time(x) { return this.from + ((x - this.left) / (this.width - this.left - 4)) * (this.to - this.from); }
  y(row) { return this.top + row * this.rowHeight; }

  draw() {
    this.top = 22;
    const height = this.top + this.rows.length * this.rowHeight + 6;
    const { pen, width } = canvas(this.canvas, height);
    this.pen = pen;
    this.width = width;
    this.left = width < 560 ? 62 : 104;
    this.axis(height);
    this.tracks();
    pen.save();
    pen.beginPath();
    pen.rect(this.left, this.top - 2, width - this.left, height);
    pen.clip();
    this.bars();
    this.trades();
    this.arrows();
    this.kills();
    pen.restore();
    this.labels();
  }

  axis(height) {
    const { pen } = this;
    const per = this.data.ticks_per_s;
    const { ticks, digits } = ticksOf(this.from / per, this.to / per, (this.width - this.left) / 80);
    pen.fillStyle = color("soft");
    pen.textAlign = "center";
    for (const at of ticks) {
      const x = this.x(at * per);
      if (x < this.left - 1) continue;
      pen.fillStyle = color("line");
      pen.fillRect(Math.round(x), this.top - 4, 1, height);
      pen.fillStyle = color("soft");
      pen.fillText(`${at.toFixed(digits)} s`, clamp(x, this.left + 14, this.width - 16), 9);
    }
  }

  /** Where a node was there to work. */
  tracks() {
    const { pen, rowHeight } = this;
    const gap = rowHeight > 14 ? 2 : 1;
    this.rows.forEach((row, place) => {
      const node = this.data.nodes[row.node];
      const from = node.starts.length ? node.starts[0] : node.first;
      const to = node.killed ?? node.stopped ?? node.last;
      const [left, right] = [Math.max(this.x(from), this.left), Math.min(this.x(to), this.width - 4)];
      pen.fillStyle = color("away");
      pen.fillRect(this.left, this.y(place) + gap, this.width - this.left - 4, rowHeight - 2 * gap);
      pen.fillStyle = color("track");
      if (right > left) pen.fillRect(left, this.y(place) + gap, right - left, rowHeight - 2 * gap);
    });
  }

  bars() {
    const { pen, rowHeight, data } = this;
    const { attempts, kinds, reasons } = data;
    const gap = rowHeight > 14 ? 3 : 1;
    const fills = kinds.map((_, place) => color(colorName(place)));
    const [bad, panel, on] = [color("bad"), color("panel"), color("on")];
    this.byRow.forEach((places, row) => {
      const [y, size] = [this.y(row) + gap, rowHeight - 2 * gap];
      let painted = -1;
      for (const place of places) {
        const start = attempts.start[place];
        const end = start + attempts.length[place];
        if (end < this.from) continue;
        if (start > this.to) break;
        const [left, right] = [this.x(start), this.x(end)];
        const whole = reasons[attempts.reason[place]] === "";
        if (whole && right <= painted) continue; // it would not be seen
        const width = Math.max(right - left - (right - left > 4 ? 1 : 0), 1);
        pen.fillStyle = whole ? fills[data.tasks.kind[attempts.task[place]]] : bad;
        if (whole) pen.fillRect(left, y, width, size);
        else this.lost(left, y, Math.max(width, 3), size, bad, panel);
        if (whole) painted = Math.max(painted, Math.floor(right));
        if (width > 46 && size > 11) {
          pen.fillStyle = whole ? on : bad;
          pen.textAlign = "left";
          const room = this.traded.has(place) ? 2 * this.half + 4 : 5;
          pen.fillText(cut(pen, data.tasks.id[attempts.task[place]], width - room - 5), Math.max(left, this.left) + room, y + size / 2 + 0.5);
        }
      }
    });
  }

  lost(x, y, width, height, bad, panel) {
    const { pen } = this;
    pen.save();
    pen.beginPath();
    pen.rect(x, y, width, height);
    pen.fillStyle = panel;
    pen.fill();
    pen.clip();
    pen.strokeStyle = bad;
    pen.globalAlpha = 0.45;
    for (let at = -height; at < width; at += 6) {
      pen.beginPath();
      pen.moveTo(x + at, y + height);
      pen.lineTo(x + at + height, y);
      pen.stroke();
    }
    pen.restore();
    pen.strokeStyle = bad;
    pen.lineWidth = 1.5;
    pen.strokeRect(x + 0.75, y + 0.75, Math.max(width - 1.5, 1), height - 1.5);
    pen.lineWidth = 1;
  }

  arrows() {
    const { pen, data } = this;
    pen.strokeStyle = pen.fillStyle = color("bad");
    const { start, length } = data.attempts;
    const seen = this.again.filter(([lost, next]) => start[next] >= this.from && start[lost] + length[lost] <= this.to);
    if (seen.length > ARROWS_MAX) return; // so many hide what they should show; looking closer brings them back
    for (const [lost, next] of seen) {
      const [x0, x1] = [this.x(start[lost] + length[lost]), this.x(start[next])];
      const [y0, y1] = [this.y(this.rowOf(lost) + 0.5), this.y(this.rowOf(next) + 0.5)];
      pen.lineWidth = 1.5;
      pen.setLineDash([4, 3]);
      pen.beginPath();
      pen.moveTo(x0, y0);
      const bend = Math.max((x1 - x0) / 2, 12);
      pen.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1 - 5, y1);
      pen.stroke();
      pen.setLineDash([]);
      pen.beginPath();
      pen.moveTo(x1, y1);
      pen.lineTo(x1 - 7, y1 - 4);
      pen.lineTo(x1 - 7, y1 + 4);
      pen.fill();
      pen.lineWidth = 1;
    }
  }

  /** A diamond where a task starts that was another node's before, and a line from there. */
  trades() {
    const { pen, data } = this;
    const { start } = data.attempts;
    const seen = [...this.traded].filter(([place, { at }]) => start[place] >= this.from && at <= this.to);
    if (seen.length > MARKS_MAX) return;
    const { half } = this;
    for (const [place, { at, origin }] of seen) {
      const [x, y] = [this.x(start[place]), this.y(this.rowOf(place) + 0.5)];
      if (origin >= 0 && seen.length <= ARROWS_MAX) {
        pen.strokeStyle = color("mark");
        pen.globalAlpha = 0.6;
        pen.setLineDash([2, 3]);
        pen.beginPath();
        pen.moveTo(this.x(at), this.y(this.first[origin] + data.nodes[origin].slots / 2));
        pen.lineTo(x, y);
        pen.stroke();
        pen.setLineDash([]);
        pen.globalAlpha = 1;
      }
      pen.beginPath();
      for (const [dx, dy] of [[0, -half], [half, 0], [0, half], [-half, 0]]) pen.lineTo(x + half + 1 + dx, y + dy);
      pen.closePath();
      pen.fillStyle = color("mark");
      pen.fill();
      pen.strokeStyle = color("panel");
      pen.stroke();
    }
  }

  kills() {
    const { pen, data } = this;
    data.nodes.forEach((node, place) => {
      if (node.killed === null) return;
      const x = this.x(node.killed);
      if (x < this.left || x > this.width) return;
      const [y, size] = [this.y(this.first[place]), node.slots * this.rowHeight];
      pen.fillStyle = color("bad");
      pen.fillRect(Math.round(x) - 1, y, 2, size);
      if (this.rowHeight <= 9) return;
      const words = "✕ died";
      const [wide, middle] = [pen.measureText(words).width + 10, y + Math.min(size, this.rowHeight) / 2];
      const from = x + wide + 4 > this.width ? x - wide - 2 : x + 2;
      pen.fillStyle = color("away");
      pen.fillRect(from, middle - 8, wide, 16);
      pen.fillStyle = color("bad");
      pen.textAlign = "left";
      pen.fillText(words, from + 5, middle + 0.5);
    });
  }

  labels() {
    const { pen, data } = this;
    pen.textAlign = "left";
    data.nodes.forEach((node, place) => {
      const y = this.y(this.first[place]);
      const size = node.slots * this.rowHeight;
      if (size < 9) return;
      pen.fillStyle = color("ink");
      const name = cut(pen, node.name, this.left - (this.left > 90 && size >= 11 ? 46 : 8));
      pen.fillText(name, 0, y + size / 2);
      if (this.left > 90) {
        pen.fillStyle = color("soft");
        pen.fillText(`× ${node.speed}`, pen.measureText(name).width + 7, y + size / 2);
      }
    });
  }

  /** The attempt under the pointer; -1: none. */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const row = Math.floor((y - this.top) / this.rowHeight);
    if (x < this.left || row < 0 || row >= this.rows.length) return -1;
    const { attempts } = this.data;
    const near = ((this.to - this.from) / (this.width - this.left)) * 2;
    const time = this.time(x);
    let [best, distance] = [-1, near];
    for (const place of this.byRow[row]) {
      const start = attempts.start[place];
      if (start > time + near) break;
      const away = Math.max(start - time, time - start - attempts.length[place], 0);
      if (away <= distance) [best, distance] = [place, away];
    }
    return best;
  }

  /** Where on the screen this attempt stands. */
  placeOf(attempt) {
    const box = this.canvas.getBoundingClientRect();
    const { attempts } = this.data;
    const middle = this.x(attempts.start[attempt] + attempts.length[attempt] / 2);
    return { x: box.left + middle, y: box.top + this.y(this.rowOf(attempt) + 0.5) };
  }

  words(attempt) {
    const { attempts, tasks, kinds, nodes, reasons, ticks_per_s: per } = this.data;
    const task = attempts.task[attempt];
    const reason = reasons[attempts.reason[attempt]];
    const ended = reason === "" ? "done" : reason === "cut" ? "cut off: its node was gone" : this.data.words.reasons[reason] || reason;
    const award = attempts.epoch[attempt] > 1 ? `, award ${attempts.epoch[attempt]}` : "";
    const trade = this.traded.get(attempt);
    const from = trade && trade.origin >= 0 ? `, traded from ${nodes[trade.origin].name}` : trade ? ", moved here" : "";
    return `${tasks.id[task]}  ${short(kinds[tasks.kind[task]])}\n${nodes[attempts.node[attempt]].name}${award}: ${duration(attempts.length[attempt] / per)} from ${(attempts.start[attempt] / per).toFixed(3)} s${from}\n${ended}`;
  }

  listen() {
    const { canvas: element } = this;
    const fingers = new Map();
    let [moved, pinch] = [0, 0];
    element.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, event);
      element.setPointerCapture(event.pointerId);
      moved = 0;
    });
    element.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) {
        const attempt = this.at(event);
        element.classList.toggle("over", attempt >= 0);
        if (attempt >= 0) tip.show(this.words(attempt), event);
        else tip.hide();
        return;
      }
      const per = (this.to - this.from) / (this.width - this.left);
      fingers.set(event.pointerId, event);
      if (fingers.size === 2) {
        const [one, other] = [...fingers.values()];
        const apart = Math.abs(one.clientX - other.clientX) || 1;
        const middle = (one.clientX + other.clientX) / 2 - element.getBoundingClientRect().left;
        if (pinch) this.zoom(pinch / apart, this.time(middle));
        pinch = apart;
        moved = 99;
        return;
      }
      const by = event.clientX - before.clientX;
      moved += Math.abs(by) + Math.abs(event.clientY - before.clientY);
      if (moved > 4) {
        tip.hide();
        this.look(this.from - by * per, this.to - by * per);
      }
    });
    const up = (event) => {
      if (fingers.delete(event.pointerId) && event.type === "pointerup" && moved <= 4) {
        const attempt = this.at(event);
        if (attempt >= 0) this.open(this.data.attempts.task[attempt]);
      }
      pinch = 0;
    };
    element.addEventListener("pointerup", up);
    element.addEventListener("pointercancel", up);
    element.addEventListener("pointerleave", () => tip.hide());
    element.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.time(event.clientX - element.getBoundingClientRect().left));
    }, { passive: false });
    element.addEventListener("keydown", (event) => {
      const step = (this.to - this.from) / 6;
      const does = {
        ArrowLeft: () => this.look(this.from - step, this.to - step), ArrowRight: () => this.look(this.from + step, this.to + step),
        "+": () => this.zoom(0.7), "=": () => this.zoom(0.7), "-": () => this.zoom(1.4), 0: () => this.fit(),
      }[event.key];
      if (does) { does(); event.preventDefault(); }
    });
    document.querySelectorAll("[data-zoom]").forEach((button) => button.addEventListener("click", () => {
      const by = button.dataset.zoom;
      if (by === "fit") this.fit();
      else if (by === "all") this.all();
      else this.zoom(Number(by));
    }));
  }

  legend() {
    const { kinds, reasons, attempts } = this.data;
    const lost = attempts.reason.some((reason) => reasons[reason] !== "");
    $("#kinds").replaceChildren(
      ...kinds.slice(0, 12).map((kind, place) => h("span", { title: kind }, h("i", { style: `background:var(--${colorName(place)})` }), short(kind))),
      ...(lost ? [h("span", {}, h("i", { style: "border:1.5px solid var(--bad)" }), "lost; an arrow leads to where it ran then")] : []),
      ...(this.traded.size ? [h("span", {}, h("i", { class: "diamond" }), "traded; a line comes from the node that was to run it")] : []),
      h("span", {}, h("i", { style: "background:var(--track)" }), "idle"),
      h("span", {}, h("i", { style: "background:var(--away)" }), "not there"),
    );
  }
}
