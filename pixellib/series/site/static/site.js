// Theme, copy buttons and search. Pages can be read without it. Nothing is loaded from another host.
"use strict";

const THEMES = ["system", "light", "dark"], KEY = "pixel-likelihoods-theme";
const memory = {  // where a browser keeps nothing, the choice lasts as long as the page
  get: () => { try { return localStorage.getItem(KEY); } catch { return null; } },
  set: (theme) => { try { localStorage.setItem(KEY, theme); } catch { /* not kept */ } },
};

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  if (button) button.textContent = `theme: ${theme}`;
}

function addCopyButtons() {
  for (const input of document.querySelectorAll(".input")) {
    const button = document.createElement("button");
    button.className = "copy";
    button.textContent = "copy";
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      try {
        await copy(input.querySelector("pre").innerText);
        button.textContent = "copied";
      } catch {
        button.textContent = "not copied";
      }
      button.focus();
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

// What scrolls sideways can be reached with the keyboard.
function makeScrollable() {
  for (const box of document.querySelectorAll("pre, .output_area, .table, math[display=block]")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
}

// A figure that the page shows smaller than its pixels fills the window when it is clicked or tapped, and can be scrolled.
function makeEnlargeable() {
  for (const image of document.querySelectorAll(".output_area img")) {
    const width = Number(image.getAttribute("width")) || image.naturalWidth;
    if (image.clientWidth >= 0.85 * width) continue;
    const button = document.createElement("button");
    button.className = "enlarge";
    button.title = "enlarge";
    button.addEventListener("click", () => showWhole(image, width));
    image.replaceWith(button);
    button.append(image);
  }
}

function showWhole(image, width) {
  const dialog = document.createElement("dialog"), large = image.cloneNode(), close = document.createElement("button");
  dialog.className = "whole";
  large.removeAttribute("height");
  large.style.width = `${Math.max(width, 0.96 * window.innerWidth)}px`;
  close.textContent = "close";
  dialog.append(large, close);
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

let index;
function loadIndex() {  // a script, because a page opened from a disk may not fetch files
  index ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "search.js";
    script.onload = () => resolve(window.SECTIONS.map((section) => (
      { ...section, plainHeading: plain(`${section.title} ${section.heading}`), plainText: plain(section.text) }
    )));
    script.onerror = reject;
    document.head.append(script);
  });
  return index;
}

// A text as it is compared: without accents and hyphens, and with s for z, so that both spellings of English are found.
function plain(text) {
  const letters = text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  return letters.replace(/[\u2010-\u2015-]/g, " ").replaceAll("z", "s");
}

// Sections that have all words, at most 12 to show and how many there are. Those come first that have the words side by
// side, then those with a word in the heading.
function search(sections, query) {
  const words = plain(query).split(/\s+/).filter(Boolean);
  if (!words.length) return { shown: [], number: 0 };
  const phrase = words.join(" ");
  const score = (section) => {
    let total = words.length > 1 && `${section.plainHeading} ${section.plainText}`.includes(phrase) ? 100 : 0;
    for (const word of words) {
      const count = section.plainText.split(word).length - 1 + (section.plainHeading.includes(word) ? 20 : 0);
      if (!count) return 0;
      total += count;
    }
    return total;
  };
  const found = sections.map((section) => [score(section), section]).filter(([points]) => points);
  return { shown: found.sort((a, b) => b[0] - a[0]).slice(0, 12).map(([, section]) => section), number: found.length };
}

function excerpt(section, query) {
  const words = plain(query).trim().split(/\s+/), together = section.plainText.indexOf(words.join(" "));
  const at = together < 0 ? section.plainText.indexOf(words[0]) : together;
  const start = at < 60 ? 0 : section.text.indexOf(" ", at - 60) + 1;
  return (start ? "… " : "") + section.text.slice(start, start + 160) + " …";
}

function showFound(sections, query) {
  const { shown, number } = search(sections, query);
  document.getElementById("found").replaceChildren(...shown.map((section) => {
    const item = document.createElement("li"), link = document.createElement("a"), small = document.createElement("small");
    link.href = `${section.page}.html${section.anchor ? "#" + section.anchor : ""}`;
    link.textContent = section.heading ? `${section.title} › ${section.heading}` : section.title;
    small.textContent = excerpt(section, query);
    link.append(small);
    item.append(link);
    return item;
  }));
  const found = shown.length < number ? `The first ${shown.length} of ${number} sections.` : `${number} section${number > 1 ? "s" : ""} found.`;
  say(query.trim() ? (number ? found : "Nothing found.") : "");
}

function say(text) {
  document.getElementById("count").textContent = text;
}

function addSearch() {
  const box = document.getElementById("search"), list = document.getElementById("found"), whole = box.parentElement;
  const close = () => { list.replaceChildren(); say(""); };
  if (matchMedia("(hover: none)").matches) box.placeholder = "Search";  // where there are no keys
  box.addEventListener("focus", () => loadIndex().catch(() => {}));
  box.addEventListener("input", async () => {
    try {
      showFound(await loadIndex(), box.value);
    } catch {
      say("The index of the search could not be loaded.");
    }
  });
  list.addEventListener("click", close);  // a section of this page is reached without loading anything
  whole.addEventListener("focusout", (event) => { if (!whole.contains(event.relatedTarget)) close(); });
  whole.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { box.value = ""; close(); box.focus(); }
    const links = [...list.querySelectorAll("a")], at = links.indexOf(document.activeElement);
    if (event.key === "Enter" && at < 0 && links.length) links[0].click();
    if (event.key === "ArrowDown" && at + 1 < links.length) { event.preventDefault(); links[at + 1].focus(); }
    if (event.key === "ArrowUp" && at >= 0) { event.preventDefault(); (links[at - 1] ?? box).focus(); }
  });
  document.addEventListener("click", (event) => { if (!whole.contains(event.target)) close(); });
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); box.focus(); }
  });
}

setTheme(THEMES.includes(memory.get()) ? memory.get() : "system");

document.addEventListener("DOMContentLoaded", () => {
  setTheme(document.documentElement.dataset.theme);
  document.getElementById("theme").addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
    memory.set(document.documentElement.dataset.theme);
  });
  addSearch();
  addCopyButtons();
  makeEnlargeable();
  makeScrollable();
});
