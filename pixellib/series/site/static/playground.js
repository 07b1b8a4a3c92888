// A discretised mixture of logistics on the levels 0 to 255, drawn while its parameters move.
"use strict";

const LEVELS = 256, WIDTH = 860, HEIGHT = 330, LEFT = 48, RIGHT = 14, BOTTOM = 28, TOP = 10;
const COLOURS = ["#0173b2", "#de8f05", "#029e73"];
const PRESETS = {
  "one logistic": [[1, 128, 12], [0, 60, 8], [0, 200, 8]],
  "two values": [[0.5, 60, 4], [0.5, 190, 4], [0, 128, 8]],
  "a value and a doubt": [[0.7, 90, 1], [0.3, 110, 40], [0, 128, 8]],
  "beyond the end": [[1, 290, 12], [0, 60, 8], [0, 200, 8]],
  "narrower than a level": [[1, 100.3, 0.1], [0, 60, 8], [0, 200, 8]],
};

const sigmoid = (t) => (t >= 0 ? 1 / (1 + Math.exp(-t)) : Math.exp(t) / (1 + Math.exp(t)));

// The probability of every level under one logistic: of all reals that round to it. The first and the last level take
// all that lies beyond them. mean and scale: in levels.
function logistic(mean, scale) {
  return Array.from({ length: LEVELS }, (_, level) => {
    const low = level === 0 ? -Infinity : (level - 0.5 - mean) / scale;
    const high = level === LEVELS - 1 ? Infinity : (level + 0.5 - mean) / scale;
    return low > 0 ? sigmoid(-low) - sigmoid(-high) : sigmoid(high) - sigmoid(low);  // far from 1, where digits are lost
  });
}

// components: [weight, mean, scale] each; weights need not add up to one. Returns the pmf and the weighted parts.
function mixture(components) {
  const total = components.reduce((sum, [weight]) => sum + weight, 0) || 1;
  const parts = components.map(([weight, mean, scale]) => logistic(mean, scale).map((p) => (p * weight) / total));
  return { parts, pmf: parts[0].map((_, level) => parts.reduce((sum, part) => sum + part[level], 0)) };
}

const entropy = (pmf) => pmf.reduce((sum, p) => (p > 0 ? sum - p * Math.log2(p) : sum), 0);

const state = { components: structuredClone(PRESETS["two values"]), level: 60, bits: false };

function element(name, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function draw() {
  const { pmf, parts } = mixture(state.components);
  const most = state.bits ? 24 : Math.max(...pmf);
  const shown = (p) => (state.bits ? Math.min(-Math.log2(p), most) : p);
  const width = (WIDTH - LEFT - RIGHT) / LEVELS;
  const x = (level) => LEFT + (level + 0.5) * width;
  const y = (value) => HEIGHT - BOTTOM - (value / most) * (HEIGHT - BOTTOM - TOP);
  const plot = document.getElementById("plot");
  const bars = pmf.map((p, level) => `M${x(level) - 0.42 * width},${y(0)}V${y(shown(p))}h${0.84 * width}V${y(0)}z`);
  const nodes = [element("path", { class: "bars", d: bars.join("") })];
  if (!state.bits) {
    parts.forEach((part, k) => {
      const line = part.map((p, level) => `${x(level)},${y(p)}`).join(" ");
      if (state.components[k][0] > 0) nodes.push(element("polyline", { class: "part", points: line, stroke: COLOURS[k] }));
    });
  }
  for (const level of [0, 64, 128, 192, 255]) {
    nodes.push(element("text", { x: x(level), y: HEIGHT - 8, "text-anchor": "middle" }, level));
  }
  for (const share of [0, 0.5, 1]) {
    const label = state.bits ? (share * most).toFixed(0) : (share * most).toPrecision(2);
    nodes.push(element("text", { x: LEFT - 6, y: y(share * most) + 4, "text-anchor": "end" }, share ? label : 0));
  }
  nodes.push(element("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(0), y2: y(0) }));
  nodes.push(element("line", { class: "here", x1: x(state.level), x2: x(state.level), y1: TOP, y2: y(0) }));
  plot.replaceChildren(...nodes);
  const p = pmf[state.level], ends = [pmf[0], pmf[LEVELS - 1]].map((end) => (100 * end).toPrecision(3));
  document.getElementById("says").textContent =
    `Level ${state.level}: probability ${p.toPrecision(4)}, ${(-Math.log2(p)).toFixed(2)} bits. ` +
    `Entropy ${entropy(pmf).toFixed(3)} bits of at most 8. At the ends: ${ends[0]} % and ${ends[1]} %.`;
  window.playground = { pmf, components: structuredClone(state.components) };  // for tests
}

function slider(label, minimum, maximum, step, value, change) {
  const box = document.createElement("label"), input = document.createElement("input"), text = document.createElement("span");
  const show = () => { text.textContent = `${label} ${change(Number(input.value))}`; };
  Object.assign(input, { type: "range", min: minimum, max: maximum, step, value });
  input.setAttribute("aria-label", label);
  input.addEventListener("input", () => { show(); draw(); });
  show();
  box.append(text, input);
  return box;
}

function makeControls() {
  const rows = state.components.map((component, k) => {
    const row = document.createElement("div"), name = document.createElement("strong");
    row.className = "component";
    row.style.borderColor = COLOURS[k];
    name.textContent = `component ${k + 1}`;
    const set = (place, digits) => (value) => { component[place] = value; return value.toFixed(digits); };
    const setScale = (value) => { component[2] = 10 ** value; return component[2].toPrecision(2); };
    row.append(
      name,
      slider("weight", 0, 1, 0.01, component[0], set(0, 2)),
      slider("mean", -60, 315, 0.5, component[1], set(1, 1)),
      slider("scale", -1.5, 2, 0.01, Math.log10(component[2]), setScale),
    );
    return row;
  });
  document.getElementById("components").replaceChildren(...rows);
}

document.addEventListener("DOMContentLoaded", () => {
  const plot = document.getElementById("plot"), presets = document.getElementById("presets");
  plot.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  for (const name of Object.keys(PRESETS)) {
    const button = document.createElement("button");
    button.textContent = name;
    button.addEventListener("click", () => {
      state.components = structuredClone(PRESETS[name]);
      makeControls();
      draw();
    });
    presets.append(button);
  }
  const bits = document.getElementById("bits");
  bits.addEventListener("change", () => { state.bits = bits.checked; draw(); });
  plot.addEventListener("pointermove", (event) => {
    const frame = plot.getBoundingClientRect();
    const across = ((event.clientX - frame.left) / frame.width) * WIDTH - LEFT;
    state.level = Math.min(LEVELS - 1, Math.max(0, Math.floor((across / (WIDTH - LEFT - RIGHT)) * LEVELS)));
    draw();
  });
  makeControls();
  draw();
});
