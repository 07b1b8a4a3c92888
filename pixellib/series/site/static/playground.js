// A discretised mixture of logistics on the levels 0 to 255, drawn while its parameters move.
"use strict";

const WIDTH = matchMedia("(max-width: 44rem)").matches ? 430 : 860;  // on a phone, so that its labels can be read
const LEVELS = 256, HEIGHT = 350, LEFT = 62, RIGHT = 14, BOTTOM = 46, TOP = 16;
const PRESETS = {
  "one logistic": [[1, 128, 12], [0, 60, 8], [0, 200, 8]],
  "two values": [[0.5, 60, 4], [0.5, 190, 4], [0, 128, 8]],
  "one sharp value and a broad one": [[0.7, 90, 1], [0.3, 110, 40], [0, 128, 8]],
  "beyond the end": [[1, 290, 12], [0, 60, 8], [0, 200, 8]],
  "narrower than a level": [[1, 100.3, 0.1], [0, 60, 8], [0, 200, 8]],
};

const logSigmoid = (t) => Math.min(t, 0) - Math.log1p(Math.exp(-Math.abs(t)));

function logSum(values) {
  const most = Math.max(...values);
  return most === -Infinity ? most : most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

// The logarithm of the probability of every level under one logistic: of all reals that round to it. The first and the
// last level take all that lies beyond them. mean and scale: in levels. With u and l the ends of the bin in units of the
// scale, sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - e^(l - u)), in which no digits are lost.
function logLogistic(mean, scale) {
  return Array.from({ length: LEVELS }, (_, level) => {
    const low = level === 0 ? -Infinity : (level - 0.5 - mean) / scale;
    const high = level === LEVELS - 1 ? Infinity : (level + 0.5 - mean) / scale;
    return logSigmoid(high) + logSigmoid(-low) + Math.log1p(-Math.exp(low - high));
  });
}

// components: [weight, mean, scale] each; weights need not add up to one, and if all are zero they count alike. Returns
// the logarithms of the pmf and of the weighted parts.
function logMixture(components) {
  const total = components.reduce((sum, [weight]) => sum + weight, 0);
  const parts = components.map(([weight, mean, scale]) => {
    const share = Math.log(total ? weight / total : 1 / components.length);
    return logLogistic(mean, scale).map((logP) => share + logP);
  });
  return { parts, pmf: parts[0].map((_, level) => logSum(parts.map((part) => part[level]))) };
}

const entropy = (logPmf) => logPmf.reduce((sum, logP) => (logP > -Infinity ? sum - Math.exp(logP) * logP : sum), 0) / Math.LN2;

const state = { components: structuredClone(PRESETS["two values"]), level: 60, bits: false };

function element(name, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function draw() {
  const { pmf: logPmf, parts } = logMixture(state.components);
  const pmf = logPmf.map(Math.exp), most = state.bits ? 24 : Math.max(...pmf);
  const shown = (logP) => (state.bits ? Math.min(-logP / Math.LN2, most) : Math.exp(logP));
  const width = (WIDTH - LEFT - RIGHT) / LEVELS;
  const x = (level) => LEFT + (level + 0.5) * width;
  const y = (value) => HEIGHT - BOTTOM - (value / most) * (HEIGHT - BOTTOM - TOP);
  const bars = logPmf.map((logP, level) => `M${x(level) - 0.42 * width},${y(0)}V${y(shown(logP))}h${0.84 * width}V${y(0)}z`);
  const nodes = [element("path", { class: "bars", d: bars.join("") })];
  if (!state.bits) {
    parts.forEach((part, k) => {
      const values = part.map(Math.exp), peak = values.indexOf(Math.max(...values));
      if (!(values[peak] > 0)) return;
      const line = values.map((p, level) => `${x(level)},${y(p)}`).join(" ");
      nodes.push(element("polyline", { class: `part component-${k + 1}`, points: line }));
      nodes.push(element("text", { class: "name", x: x(peak) + 6, y: y(values[peak]) + 4 }, k + 1));
    });
  }
  for (const level of [0, 64, 128, 192, 255]) {
    nodes.push(element("text", { x: x(level), y: y(0) + 18, "text-anchor": "middle" }, level));
  }
  for (const share of [0, 0.5, 1]) {
    const label = state.bits ? (share * most).toFixed(0) : (share * most).toPrecision(2);
    nodes.push(element("text", { x: LEFT - 6, y: y(share * most) + 4, "text-anchor": "end" }, share ? label : 0));
  }
  const middle = (TOP + y(0)) / 2;
  nodes.push(element("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "level of the pixel"));
  nodes.push(element(
    "text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` },
    state.bits ? "bits" : "probability",
  ));
  nodes.push(element("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(0), y2: y(0) }));
  nodes.push(element("line", { class: "here", x1: x(state.level), x2: x(state.level), y1: TOP, y2: y(0) }));
  document.getElementById("plot").replaceChildren(...nodes);
  const p = pmf[state.level], bits = -logPmf[state.level] / Math.LN2;
  const ends = [pmf[0], pmf[LEVELS - 1]].map((end) => (100 * end).toPrecision(3));
  document.getElementById("says").textContent =
    `Level ${state.level}: probability ${p > 0 ? p.toPrecision(4) : "below 1e-300"}, ${bits.toFixed(2)} bits. ` +
    `Entropy ${entropy(logPmf).toFixed(3)} bits of at most 8. At the ends: ${ends[0]} % and ${ends[1]} %.`;
  document.getElementById("level").value = state.level;
  window.playground = { pmf, components: structuredClone(state.components) };  // for tests
}

function slider(component, label, minimum, maximum, step, value, change) {
  const box = document.createElement("label"), input = document.createElement("input"), text = document.createElement("span");
  const show = () => {
    const shown = change(Number(input.value));
    text.textContent = `${label} ${shown}`;
    input.setAttribute("aria-valuetext", shown);
  };
  Object.assign(input, { type: "range", min: minimum, max: maximum, step, value });
  input.setAttribute("aria-label", `component ${component}, ${label}`);
  input.addEventListener("input", () => { show(); draw(); });
  show();
  box.append(text, input);
  return box;
}

function makeControls() {
  const rows = state.components.map((component, k) => {
    const row = document.createElement("div"), name = document.createElement("strong"), number = k + 1;
    row.className = `component component-${number}`;
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", `component ${number}`);
    name.textContent = `component ${number}`;
    const set = (place, digits) => (value) => { component[place] = value; return value.toFixed(digits); };
    const setScale = (value) => { component[2] = 10 ** value; return component[2].toPrecision(2); };
    row.append(
      name,
      slider(number, "weight", 0, 1, 0.01, component[0], set(0, 2)),
      slider(number, "mean", -60, 315, 0.5, component[1], set(1, 1)),
      slider(number, "scale", -1.5, 2, 0.01, Math.log10(component[2]), setScale),
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
  const bits = document.getElementById("bits"), level = document.getElementById("level");
  bits.addEventListener("change", () => { state.bits = bits.checked; draw(); });
  level.addEventListener("input", () => { state.level = Number(level.value); draw(); });
  plot.addEventListener("pointermove", (event) => {
    const frame = plot.getBoundingClientRect();
    const across = ((event.clientX - frame.left) / frame.width) * WIDTH - LEFT;
    state.level = Math.min(LEVELS - 1, Math.max(0, Math.floor((across / (WIDTH - LEFT - RIGHT)) * LEVELS)));
    draw();
  });
  makeControls();
  draw();
});
