// Labels ranges of the video in the container of the class `data.player`, with keys or buttons.

function button(parent, className, text, title, action) {
  const made = element("button", className, parent, text);
  made.type = "button";
  made.title = title;
  made.onclick = () => {
    made.blur(); // Space plays, and does not press it again
    action();
  };
  return made;
}

const HINT = "S where an action starts, E where it ends, then the digit of its name.";
const fresh = (video) => ({ video, start: null, end: null, selected: null, zoom: 1, pending: [], count: 0, message: HINT });
const same = (one, other) => one && other && one.every((part, place) => part === other[place]);

export default function ({ data, parentElement, setStateValue }) {
  const root = rootOf(parentElement);
  root.cleanUp?.(); // what an earlier run of the page has left: it runs anew, and is not always cleaned up
  root.session ??= Math.random().toString(36).slice(2);
  if (root.state?.video !== data.video) {
    root.state = { ...fresh(data.video), count: root.state?.count ?? 0 };
    document.activeElement?.blur(); // the list of recordings would take the keys
  }
  const state = root.state;
  root.dataset.video = data.video;
  state.pending = state.pending.filter((action) => !data.done.includes(action.id));

  const player = () => playerIn(data.player);
  const now = () => player()?.currentTime ?? 0;
  const go = (seconds) => {
    const video = player();
    if (video) video.currentTime = Math.min(Math.max(seconds, 0), data.seconds);
  };
  const say = (text) => (message.textContent = state.message = text);
  const send = (action) => {
    state.pending.push({ ...action, id: `${root.session}-${++state.count}` });
    setStateValue("actions", [...state.pending]);
    draw();
  };

  // What is labeled, with what was not heard back about yet.
  const ranges = () => {
    let shown = data.ranges.map((range) => ({ range, waits: false }));
    for (const { kind, range, start, end, label } of state.pending) {
      if (kind !== "label") shown = shown.filter((each) => !same(each.range, range));
      if (kind === "label") shown.push({ range: [start, end, label, ""], waits: true });
      if (kind === "relabel") shown.push({ range: [range[0], range[1], label, range[3]], waits: true });
      if (kind === "move") shown.push({ range: [start, end, range[2], range[3]], waits: true });
    }
    return shown;
  };

  const actions = {
    play: () => {
      const video = player();
      if (video) video.paused ? video.play() : video.pause();
    },
    step: (seconds) => {
      player()?.pause();
      go(now() + seconds);
    },
    border: (which) => {
      if (state.selected) {
        const [start, end] = which === "start" ? [now(), state.selected[1]] : [state.selected[0], now()];
        if (start >= end) return say("A range must end after its start.");
        send({ kind: "move", range: state.selected, start, end });
        state.selected = null;
      } else {
        state[which] = now();
        if (state.start !== null && state.end !== null && state.end <= state.start) {
          state[which === "start" ? "end" : "start"] = null;
        }
      }
      say("");
      draw();
    },
    name: (label) => {
      if (state.selected) {
        send({ kind: "relabel", range: state.selected, label });
        state.selected = null;
      } else {
        const end = state.end ?? now();
        if (state.start === null) return say("First press S where the action starts.");
        if (end <= state.start) return say("Go on to where the action ends.");
        const start = state.start;
        [state.start, state.end] = [null, null];
        send({ kind: "label", start, end, label });
        say(`${label}: ${clock(start, 2)} to ${clock(end, 2)}`);
      }
      draw();
    },
    remove: () => {
      if (!state.selected) return say("First click a range in the timeline.");
      send({ kind: "remove", range: state.selected });
      state.selected = null;
      draw();
    },
    clear: () => {
      [state.start, state.end, state.selected] = [null, null, null];
      say("");
      draw();
    },
    zoom: (factor) => {
      state.zoom = Math.min(Math.max(state.zoom * factor, 1), 4096);
      draw();
    },
  };

  root.replaceChildren();
  const bar = element("div", "bar", root);
  button(bar, "tool", "−1 frame ←", "One frame back (left arrow; with Shift a second)", () => actions.step(-1 / data.fps));
  button(bar, "tool", "Play Space", "Play or pause (space)", actions.play);
  button(bar, "tool", "+1 frame →", "One frame on (right arrow; with Shift a second)", () => actions.step(1 / data.fps));
  button(bar, "tool", "Start S", "The action, or the selected range, starts here (S)", () => actions.border("start"));
  button(bar, "tool", "End E", "The action, or the selected range, ends here (E)", () => actions.border("end"));
  button(bar, "tool", "Remove Del", "Remove the selected range (Delete)", actions.remove);
  button(bar, "tool", "−", "Show more of the time (−)", () => actions.zoom(1 / 2));
  button(bar, "tool", "+", "Show less of the time (+)", () => actions.zoom(2));
  const time = element("span", "time", bar);

  const rows = element("div", "rows", root);
  const names = element("div", "names", rows);
  data.classes.forEach(({ name, color }, place) => {
    const key = place < 9 ? `${place + 1} ` : "";
    const label = button(names, "name", `${key}${name}`, `It is ${name}${key && ` (${key.trim()})`}`, () => actions.name(name));
    label.style.setProperty("--color", color);
  });
  const view = element("div", "view", rows);
  const track = element("div", "track", view);
  const message = element("div", "message", root);
  message.setAttribute("role", "status");
  message.textContent = state.message;

  const share = (seconds) => `${(100 * seconds) / data.seconds}%`;
  const mark = (className, start, end) => {
    const made = element("div", className, track);
    made.style.left = share(start);
    made.style.width = share(end - start);
    return made;
  };
  let cursor;
  function draw() {
    track.replaceChildren();
    track.style.width = `${100 * state.zoom}%`;
    track.style.setProperty("--rows", data.classes.length);
    data.classes.forEach((_, place) => element("div", "row", track).style.setProperty("--row", place));
    for (const { range, waits } of ranges()) {
      const place = data.classes.findIndex(({ name }) => name === range[2]);
      const block = mark("range", range[0], range[1]);
      block.style.setProperty("--row", Math.max(place, 0));
      block.style.setProperty("--color", data.classes[place]?.color ?? "gray");
      block.title = `${range[2]} ${clock(range[0], 2)} to ${clock(range[1], 2)}${range[3] && `, ${range[3]}`}`;
      block.classList.toggle("waits", waits);
      block.classList.toggle("selected", same(range, state.selected) ?? false);
      block.dataset.label = range[2];
      block.onclick = (event) => {
        event.stopPropagation();
        state.selected = waits || same(range, state.selected) ? null : range;
        go(range[0]);
        say(state.selected ? "Selected: S and E move its ends, a digit renames it, Delete removes it." : "");
        draw();
      };
    }
    if (state.start !== null) mark("marker", state.start, Math.max(state.end ?? state.start, state.start));
    cursor = element("div", "cursor", track);
  }
  draw();
  track.onclick = (event) => {
    const box = track.getBoundingClientRect();
    go((data.seconds * (event.clientX - box.left)) / box.width);
  };

  player()?.style.setProperty("max-height", "42vh"); // so that the timeline is on the same screen

  const onKey = (event) => {
    const target = event.composedPath()[0];
    if (event.ctrlKey || event.metaKey || event.altKey || !player()) return;
    if (target.closest?.("input, textarea, select, [contenteditable=true], [role=slider]")) return;
    const isButton = target.closest?.("button, a, [role=button], [role=tab]");
    const step = event.shiftKey ? 1 : 1 / data.fps;
    const keys = {
      " ": isButton ? null : actions.play,
      ArrowLeft: () => actions.step(-step),
      ArrowRight: () => actions.step(step),
      s: () => actions.border("start"),
      e: () => actions.border("end"),
      Delete: actions.remove,
      Escape: actions.clear,
      "+": () => actions.zoom(2),
      "-": () => actions.zoom(1 / 2),
    };
    const digit = data.classes[Number(event.key) - 1];
    const action = digit ? () => actions.name(digit.name) : keys[event.key] ?? keys[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  };
  document.addEventListener("keydown", onKey, true);

  const stop = everyFrame(() => {
    const seconds = now();
    time.textContent = `${clock(seconds, 2)} of ${clock(data.seconds, 2)}`;
    cursor.style.left = share(Math.min(seconds, data.seconds));
    if (state.start !== null && state.end === null) {
      const marker = track.querySelector(".marker");
      if (marker) marker.style.width = share(Math.max(seconds - state.start, 0));
    }
    if (state.zoom > 1) view.scrollLeft = (track.clientWidth * seconds) / data.seconds - view.clientWidth / 2;
  });
  root.cleanUp = () => {
    stop();
    document.removeEventListener("keydown", onKey, true);
  };
  return root.cleanUp;
}
