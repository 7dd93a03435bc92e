// Draws segments and curves, and leads the video in the container of the class `data.player`.

function curve(data, values, place) {
  return data.moments.map((moment, row) => `${place(moment)},${1 - values[row]}`).join(" ");
}

export default function ({ data, parentElement }) {
  const root = rootOf(parentElement);
  root.replaceChildren();
  const length = Math.max(data.end - data.start, 1e-3);
  const share = (seconds) => (seconds - data.start) / length;
  const player = () => playerIn(data.player);
  const go = (seconds) => {
    const video = player();
    if (!video) return;
    video.currentTime = Math.max(seconds, 0) + 0.001; // the frame that begins there, not the one before
  };

  const chart = element("div", "chart", root);
  const strip = element("div", "strip", chart);
  for (const segment of data.segments) {
    const button = element("button", "segment", strip, segment.label);
    button.type = "button";
    button.style.left = `${100 * share(segment.start_seconds)}%`;
    button.style.width = `${(100 * (segment.end_seconds - segment.start_seconds)) / length}%`;
    button.style.background = segment.color;
    button.title =
      `${segment.label} ${Math.round(100 * segment.confidence)}%\n` +
      `${clock(segment.start_seconds, 1)} to ${clock(segment.end_seconds, 1)}`;
    button.dataset.start = segment.start_seconds;
    button.onclick = () => go(segment.start_seconds);
  }

  const plot = element("div", "plot", chart);
  const namespace = "http://www.w3.org/2000/svg";
  const svg = plot.appendChild(document.createElementNS(namespace, "svg"));
  svg.setAttribute("viewBox", "0 -0.02 1 1.04");
  svg.setAttribute("preserveAspectRatio", "none");
  for (const { color, values } of data.curves) {
    const line = svg.appendChild(document.createElementNS(namespace, "polyline"));
    line.setAttribute("points", curve(data, values, share));
    line.setAttribute("stroke", color);
  }
  for (const part of [0, 0.5, 1]) element("span", "level", plot, `${100 * part}%`).style.top = `${100 * (1 - part)}%`;
  const reading = element("div", "reading", plot);
  const cursor = element("div", "cursor", chart);
  const secondsAt = (event) => {
    const box = plot.getBoundingClientRect();
    return data.start + length * Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  };
  plot.onclick = (event) => go(secondsAt(event));
  plot.onmousemove = (event) => {
    const seconds = secondsAt(event);
    let row = data.moments.findIndex((moment) => moment >= seconds);
    row = row < 0 ? data.moments.length - 1 : row;
    const parts = data.curves.map(({ label, values }) => [values[row], label]).sort((a, b) => b[0] - a[0]);
    reading.textContent =
      `${clock(seconds, 1)}: ` + parts.slice(0, 3).map(([value, label]) => `${label} ${Math.round(100 * value)}%`).join(", ");
  };
  plot.onmouseleave = () => (reading.textContent = "");

  const axis = element("div", "axis", root);
  for (const part of [0, 0.25, 0.5, 0.75, 1]) element("span", "", axis, clock(data.start + part * length, 1));
  const legend = element("div", "legend", root);
  for (const { label, color } of data.curves) {
    element("span", "name", legend, label).style.setProperty("--color", color);
  }

  return everyFrame(() => {
    const video = player();
    if (video) cursor.style.left = `${100 * Math.min(Math.max(share(video.currentTime), 0), 1)}%`;
  });
}
