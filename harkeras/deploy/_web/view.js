// What is drawn on the page: the label, a bar for each class, and the timeline.

import { UNSURE } from "./decisions.js";

// Okabe and Ito's colors, which color-blind people can tell apart; gray for what is no class.
const COLORS = ["#009e73", "#e69f00", "#56b4e9", "#d55e00", "#cc79a7", "#f0e442", "#0072b2"];
const GRAY = "#969696";
const MOST_BARS = 12;
const MOST_SEGMENTS = 100;
const CAMERA_SECONDS = 60; // of the strip

export const find = (id) => document.getElementById(id);

function element(name, className, parent, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text; // never as HTML: names of classes come from others
  parent.append(made);
  return made;
}

const percent = (share) => `${Math.round(100 * share)}%`;
const width = (share) => `${(100 * share).toFixed(2)}%`;

function clock(seconds) {
  const tenths = Math.round(10 * seconds);
  const minutes = Math.floor(tenths / 600);
  const rest = ((tenths % 600) / 10).toFixed(1);
  return minutes ? `${minutes}:${rest.padStart(4, "0")}` : `${rest} s`;
}

export function say(text, isError = false) {
  find("status").textContent = text;
  find("status").classList.toggle("error", isError);
}

export class View {
  constructor(recipe) {
    this.classes = recipe.classes;
    const isMany = this.classes.length > MOST_BARS;
    find("about").textContent = `This model knows ${isMany ? `${this.classes.length} actions` : this.classes.join(", ")}.`;
    this.bars = Array.from({ length: Math.min(this.classes.length, MOST_BARS) }, () => {
      const bar = element("div", "bar", find("bars"));
      const [name, value] = [element("span", "name", bar), element("span", "value", bar)];
      return { bar, name, value, fill: element("div", "fill", element("div", "track", bar)) };
    });
    this.clear();
  }

  color(label) {
    const row = this.classes.indexOf(label);
    return row < 0 ? GRAY : COLORS[row % COLORS.length];
  }

  clear() {
    this.drawBars(this.classes.map(() => 0), null);
    this.hideLabel();
    find("timeline").hidden = true;
    find("hint").hidden = false;
  }

  hideLabel() {
    for (const id of ["label", "speed"]) find(id).hidden = true;
  }

  drawLabel(label, confidence) {
    find("hint").hidden = true;
    find("label").hidden = false;
    find("label").textContent = label === UNSURE ? UNSURE : `${label} ${percent(confidence)}`;
    find("label").style.setProperty("--color", this.color(label));
  }

  drawSpeed(text) {
    find("speed").hidden = false;
    find("speed").textContent = text;
  }

  // In the order of the classes; of many, the most probable ones.
  drawBars(probabilities, label) {
    let rows = [...probabilities.keys()];
    if (rows.length > MOST_BARS) rows = rows.sort((one, other) => probabilities[other] - probabilities[one]);
    this.bars.forEach(({ bar, name, value, fill }, place) => {
      const row = rows[place];
      name.textContent = this.classes[row];
      value.textContent = percent(probabilities[row]);
      fill.style.transform = `scaleX(${probabilities[row]})`;
      bar.style.setProperty("--color", this.color(this.classes[row]));
      bar.classList.toggle("holds", this.classes[row] === label);
    });
  }

  // Where in the file the player is.
  drawCursor(share) {
    find("cursor").hidden = false;
    find("cursor").style.left = width(share);
  }

  // Of a file all of it, where a click leads to a segment; of a camera the last minute, the newest label first.
  drawTimeline(timeline, { duration = null, onSeek = null } = {}) {
    find("timeline").hidden = false;
    const segments = timeline.segments();
    const to = duration ?? Math.max(timeline.end, CAMERA_SECONDS);
    const from = duration === null ? to - CAMERA_SECONDS : 0;
    find("strip").replaceChildren(find("cursor"));
    find("cursor").hidden = true;
    for (const { start, end: stop, label } of segments.filter((segment) => segment.end > from)) {
      const left = Math.max(start, from);
      const button = element("button", "segment", find("strip"), label);
      button.type = "button";
      button.disabled = !onSeek;
      button.style.left = width((left - from) / (to - from));
      button.style.width = width((stop - left) / (to - from));
      button.style.setProperty("--color", this.color(label));
      button.onclick = () => onSeek(start);
    }
    find("scale").replaceChildren();
    for (const part of [0, 0.5, 1]) element("span", "", find("scale"), clock(from + part * (to - from)));
    const listed = duration === null ? segments.slice(-MOST_SEGMENTS).reverse() : segments;
    find("segments").replaceChildren();
    for (const { start, end: stop, label, confidence } of listed) {
      const item = element("li", "", find("segments"));
      element("span", "", item, `${clock(start)} to ${clock(stop)}`);
      element("span", "label", item, label).style.setProperty("--color", this.color(label));
      element("span", "confidence", item, label === UNSURE ? "" : percent(confidence));
    }
  }
}
