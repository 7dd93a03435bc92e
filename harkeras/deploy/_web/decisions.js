// From the probabilities of overlapping windows to labels that do not flicker, and to a timeline.
// These are the rules of `Decider`, `name_classes` and `make_prediction` in harkeras.inference.

export const UNSURE = "unsure";

// Kept of a camera that is watched for hours; what is older is forgotten.
const KEPT_WINDOWS = 20000;

// As Python rounds: halves go to the even number.
function round(value) {
  const below = Math.floor(value);
  const rest = value - below;
  return rest === 0.5 ? below + (below % 2) : Math.round(value);
}

function largest(values) {
  return values.reduce((best, value, row) => (value > values[best] ? row : best), 0);
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

// The class that is named: of those that reach a tuned threshold the one furthest above it, as a ratio; else
// the most probable one without a threshold.
export function nameClass(probabilities, thresholds) {
  const ratios = probabilities.map((value, row) => (thresholds[row] && value >= thresholds[row] ? value / thresholds[row] : 0));
  if (ratios.some((ratio) => ratio > 0)) return largest(ratios);
  const all = thresholds.every((threshold) => threshold > 0);
  return largest(probabilities.map((value, row) => (thresholds[row] && !all ? 0 : value)));
}

// Decides on windows {start, end, probabilities} one after the other.
export class Decider {
  constructor(recipe, settings) {
    const { stride_seconds: stride, smoothing_seconds: smoothing } = settings;
    this.classes = recipe.classes;
    this.hysteresis = settings.hysteresis;
    this.threshold = settings.threshold;
    this.tuned = this.classes.map((name) => recipe.thresholds[name] ?? 0);
    this.averaged = Math.max(round(smoothing / stride), 1);
    this.patience = Math.max(Math.ceil(settings.min_seconds / stride - 1e-9), 1);
    this.longestStep = 2 * Math.max(stride, smoothing);
    this.count = 0;
    this.startAnew();
  }

  startAnew() {
    this.recent = [];
    this.candidate = null;
    this.waited = this.doubted = this.agreed = 0;
    this.settled = false;
    this.label = null; // holds from window number `since` on, which may lie in the past
    this.since = this.count;
  }

  // Take in a window and return what to show now.
  update(window) {
    if (this.recent.length) {
      const step = window.start - this.recent.at(-1).start;
      if (step < 0 || step > this.longestStep) this.startAnew();
    }
    this.recent = [...this.recent, window].slice(-this.averaged);
    this.smoothed = this.classes.map((_, row) => mean(this.recent.map((each) => each.probabilities[row])));
    this.middle = (this.recent[0].start + window.end) / 2;
    const best = this.best();
    this.waited = best === this.candidate ? this.waited + 1 : 1;
    this.candidate = best;
    if (this.label === null || best === this.label) {
      this.label = best;
      this.doubted = 0;
      this.agreed += 1;
      this.settled ||= this.agreed >= this.patience;
    } else {
      this.doubted = this.isLost(this.label) ? this.doubted + 1 : 0;
      if (this.waited >= this.patience) this.change(best, this.waited);
      else if (this.doubted >= this.patience) this.change(UNSURE, this.doubted);
    }
    this.count += 1;
    const shown = this.settled ? this.label : UNSURE;
    const row = this.classes.indexOf(shown);
    this.confidence = row < 0 ? Math.max(...this.smoothed) : this.smoothed[row];
    return shown;
  }

  change(label, windows) {
    const begin = this.count - (windows - 1);
    if (begin - this.since >= this.patience) this.since = begin; // else what came before was a guess
    this.label = label;
    this.settled = true;
    this.doubted = 0;
  }

  isLost(label) {
    const row = this.classes.indexOf(label);
    return row >= 0 && this.smoothed[row] < (this.tuned[row] || this.threshold - this.hysteresis);
  }

  best() {
    const best = nameClass(this.smoothed, this.tuned);
    const held = this.classes.indexOf(this.label);
    if (held >= 0 && !this.tuned[best] && !this.tuned[held]) {
      const leads = this.smoothed[best] >= this.smoothed[held] + this.hysteresis;
      if (!leads && !this.isLost(this.label)) return this.label;
    }
    return this.smoothed[best] >= (this.tuned[best] || this.threshold) ? this.classes[best] : UNSURE;
  }
}

// What was decided so far: labels from window to window, which become segments.
export class Timeline {
  constructor(recipe, settings) {
    this.stride = settings.stride_seconds;
    this.decider = new Decider(recipe, settings);
    this.runs = []; // {first, label}: number of the first window of each label
    this.windows = []; // {middle, smoothed}
    this.forgotten = 0;
    this.begin = 0; // where the first segment starts, in seconds
    this.end = 0; // where the last one ends
  }

  // Take in a window and return what to show now. A slow model leaves windows out: the newest stands for them.
  add(window) {
    const length = window.end - window.start;
    let missing = this.last ? Math.max(round((window.start - this.last.start) / this.stride) - 1, 0) : 0;
    if (missing * this.stride > 2 * (length + this.stride)) missing = 0; // a gap
    let shown;
    for (; missing >= 0; missing -= 1) {
      const start = window.start - missing * this.stride;
      shown = this.take({ start, end: start + length, probabilities: window.probabilities });
    }
    this.last = window;
    this.end = window.end;
    return shown;
  }

  take(window) {
    const { decider, runs } = this;
    const shown = decider.update(window);
    this.windows.push({ middle: decider.middle, smoothed: decider.smoothed });
    while (runs.length && runs.at(-1).first >= decider.since) runs.pop();
    if (runs.at(-1)?.label !== decider.label) runs.push({ first: decider.since, label: decider.label });
    if (this.windows.length > 2 * KEPT_WINDOWS) this.forget();
    return shown;
  }

  forget() {
    this.begin = this.border(this.forgotten + KEPT_WINDOWS);
    this.windows = this.windows.slice(KEPT_WINDOWS);
    this.forgotten += KEPT_WINDOWS;
    while (this.runs.length > 1 && this.runs[1].first <= this.forgotten) this.runs.shift();
  }

  // Where a window's label begins: midway between its middle and that of the one before.
  border(number) {
    const row = number - this.forgotten;
    return row <= 0 ? this.begin : (this.windows[row - 1].middle + this.windows[row].middle) / 2;
  }

  // The averaged probabilities of the window whose middle is nearest to a moment.
  smoothedAt(seconds) {
    const distance = (window) => Math.abs(window.middle - seconds);
    return this.windows.reduce((best, each) => (distance(each) < distance(best) ? each : best)).smoothed;
  }

  // The columns are those of `harkeras predict --timeline`.
  toCsv() {
    const cell = (text) => `"${text.replace(/^(?=[=+\-@])/, "'").replaceAll('"', '""')}"`; // no formula
    const rows = this.segments().map(
      ({ start, end, label, confidence }) => `${start.toFixed(3)},${end.toFixed(3)},${cell(label)},${confidence.toFixed(4)}\n`,
    );
    return `start_seconds,end_seconds,label,confidence\n${rows.join("")}`;
  }

  // The labels in order, without gaps: {start, end, label, confidence}.
  segments() {
    return this.runs.map(({ first, label }, place) => {
      const next = this.runs[place + 1]?.first;
      const row = this.decider.classes.indexOf(label);
      const inside = this.windows.slice(Math.max(first - this.forgotten, 0), next === undefined ? undefined : next - this.forgotten);
      const confidence = mean(inside.map(({ smoothed }) => (row < 0 ? Math.max(...smoothed) : smoothed[row])));
      return { start: this.border(first), end: next === undefined ? this.end : this.border(next), label, confidence };
    });
  }
}
