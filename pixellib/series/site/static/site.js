// Theme, copy buttons and search. Pages can be read without it. Nothing is loaded from another host.
"use strict";

const THEMES = ["system", "light", "dark"];
const memory = {  // where a browser keeps nothing, the choice lasts as long as the page
  get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
  set: (theme) => { try { localStorage.setItem("theme", theme); } catch { /* not kept */ } },
};

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  memory.set(theme);
  const button = document.getElementById("theme");
  if (button) button.textContent = `theme: ${theme}`;
}

function addCopyButtons() {
  for (const input of document.querySelectorAll(".input")) {
    const button = document.createElement("button");
    button.className = "copy";
    button.textContent = "copy";
    button.addEventListener("click", async () => {
      await copy(input.querySelector("pre").innerText);
      button.textContent = "copied";
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
    input.append(button);
  }
}

async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");  // a page opened from a disk may not use the clipboard otherwise
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function loadIndex() {  // a script, because a page opened from a disk may not fetch files
  if (window.SECTIONS) return Promise.resolve();
  return new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = "search.js";
    script.onload = resolve;
    document.head.append(script);
  });
}

// Sections that have all words, those with a word in the heading first.
function search(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const score = (section) => {
    const heading = `${section.title} ${section.heading}`.toLowerCase(), text = section.text.toLowerCase();
    let total = 0;
    for (const word of words) {
      const count = text.split(word).length - 1 + (heading.includes(word) ? 20 : 0);
      if (!count) return 0;
      total += count;
    }
    return total;
  };
  return window.SECTIONS.map((section) => [score(section), section]).filter(([points]) => points)
    .sort((a, b) => b[0] - a[0]).slice(0, 12).map(([, section]) => section);
}

function excerpt(text, query) {
  const at = text.toLowerCase().indexOf(query.toLowerCase().trim().split(/\s+/)[0]);
  const start = Math.max(0, at - 60);
  return (start ? "… " : "") + text.slice(start, start + 160) + " …";
}

function showFound(list, query) {
  const items = search(query).map((section) => {
    const item = document.createElement("li"), link = document.createElement("a"), small = document.createElement("small");
    link.href = `${section.page}.html${section.anchor ? "#" + section.anchor : ""}`;
    link.textContent = section.heading ? `${section.title} › ${section.heading}` : section.title;
    small.textContent = excerpt(section.text, query);
    link.append(small);
    item.append(link);
    return item;
  });
  if (!items.length && query.trim()) {
    const item = document.createElement("li");
    item.innerHTML = "<p>Nothing found.</p>";
    items.push(item);
  }
  list.replaceChildren(...items);
}

setTheme(THEMES.includes(memory.get()) ? memory.get() : "system");

document.addEventListener("DOMContentLoaded", () => {
  setTheme(document.documentElement.dataset.theme);
  const theme = document.getElementById("theme"), box = document.getElementById("search");
  theme.addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
  });
  const list = document.getElementById("found");
  box.addEventListener("focus", loadIndex);
  box.addEventListener("input", async () => { await loadIndex(); showFound(list, box.value); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { box.value = ""; list.replaceChildren(); }
    if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) { event.preventDefault(); box.focus(); }
  });
  document.addEventListener("click", (event) => { if (!event.target.closest(".search")) list.replaceChildren(); });
  addCopyButtons();
  const contents = document.querySelector(".contents details");  // closed where it would stand above the text
  if (contents) contents.open = matchMedia("(min-width: 64rem)").matches;
});
