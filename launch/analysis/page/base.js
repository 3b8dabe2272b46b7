// What all parts of the page use: elements, numbers in words, colours, the data unpacked, the tip beside the pointer.
"use strict";

const $ = (selector) => document.querySelector(selector);

/** An element; text is text, whatever stands in it. */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Three digits that matter, in the unit that suits. */
function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "";
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${+(seconds * 1e6).toPrecision(3)} µs`;
  if (size < 0.9995) return `${+(seconds * 1e3).toPrecision(3)} ms`;
  if (size < 600) return `${seconds.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0)} s`;
  return size < 36000 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const place = Math.min(Math.max(Math.floor(Math.log10(bytes || 1) / 3), 0), units.length - 1);
  return `${+(bytes / 1000 ** place).toPrecision(3)} ${units[place]}`;
}

const count = (number) => number.toLocaleString("en");
const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many || `${one}s`}`;
const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
const short = (kind) => kind.slice(kind.lastIndexOf(":") + 1) || kind || "unknown";
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const COLORS = 8;
const colorName = (place) => `c${((place % COLORS) + COLORS) % COLORS}`;

async function unpacked(id) {
  const text = atob(document.getElementById(id).textContent.trim());
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** Steps of a time axis: 1, 2 or 5 times a power of ten, about `most` of them. */
function ticksOf(from, to, most) {
  const rough = (to - from) / Math.max(most, 1);
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough) || power;
  const ticks = [];
  for (let at = Math.ceil(from / step - 1e-9) * step; at <= to + step * 1e-9; at += step) ticks.push(at);
  return { ticks, digits: Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)) };
}

const tip = {
  show(text, event) {
    const box = $("#tip");
    box.textContent = text;
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    box.style.left = `${clamp(event.clientX + 14, 4, innerWidth - width - 4)}px`;
    box.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
  },
  hide() { $("#tip").hidden = true; },
};

/** A canvas as wide as its place and so high, sharp on every screen. */
function canvas(element, height) {
  const width = element.clientWidth || element.parentElement.clientWidth;
  const scale = window.devicePixelRatio || 1;
  element.style.height = `${height}px`;
  element.width = Math.round(width * scale);
  element.height = Math.round(height * scale);
  const pen = element.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  pen.textBaseline = "middle";
  return { pen, width, height };
}

function cut(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && pen.measureText(`${text.slice(0, end)}…`).width > width) end -= 1;
  return `${text.slice(0, end)}…`;
}
