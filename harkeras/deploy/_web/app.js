// Names the actions of the visitor's camera, or of a video of theirs, in the browser.

import { Timeline } from "./decisions.js";
import { Model } from "./model.js";
import { Picture } from "./picture.js";
import { CameraWindows, windowsOfFile } from "./sampling.js";
import { View, find, say } from "./view.js";

const video = find("video");
let recipe, settings, model, view;
let running = new AbortController(); // the camera or the file that is looked at
export let timeline = null; // of it, for scripts: (await import("./app.js")).timeline

async function readJson(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return answer.json();
}

async function start() {
  say("Loading the model…");
  [recipe, settings] = await Promise.all([readJson("recipe.json"), readJson("settings.json")]);
  if (!(settings.stride_seconds >= 0.001)) throw new Error("settings.json: stride_seconds must be at least 0.001.");
  view = new View(recipe);
  model = await Model.load(recipe, settings.networks);
  const pixels = new Uint8Array(model.shape.reduce((product, side) => product * side, 1));
  await model.answer(Array.from({ length: recipe.frames }, () => ({ pixels }))); // the first one takes longest
  say("");
  find("camera").disabled = find("choose").disabled = false;
  document.body.dataset.ready = "true";
}

// End what is looked at, and return the signal of what begins.
function begin() {
  running.abort();
  running = new AbortController();
  view.clear();
  say("");
  video.controls = false;
  video.ontimeupdate = null;
  find("camera").hidden = true;
  find("stop").hidden = false;
  timeline = new Timeline(recipe, settings);
  return running.signal;
}

function end() {
  running.abort();
  showIdle();
}

function showIdle() {
  find("camera").hidden = false;
  find("stop").hidden = find("other").hidden = true;
}

// Frames per second over the last two seconds, and how long a look takes.
class Speed {
  times = [];
  milliseconds = 0;

  frame(seconds) {
    this.times = [...this.times.filter((each) => seconds - each < 2), seconds];
  }

  look(milliseconds) {
    this.milliseconds += (milliseconds - this.milliseconds) / (this.milliseconds ? 5 : 1);
  }

  toString() {
    const length = this.times.at(-1) - this.times[0];
    const rate = length > 0 ? ((this.times.length - 1) / length).toFixed(0) : "…";
    return `${rate} frames/s${this.milliseconds ? `, ${this.milliseconds.toFixed(0)} ms a look` : ""}`;
  }
}

async function watchCamera(device = null) {
  const signal = begin();
  if (!navigator.mediaDevices) throw new Error("Browsers open cameras on https:// and on localhost alone.");
  const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, ...(device && { deviceId: { exact: device } }) };
  const stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
  const close = () => stream.getTracks().forEach((track) => track.stop());
  if (signal.aborted) return close();
  signal.addEventListener("abort", () => {
    close();
    video.srcObject = null;
  });
  stream.getTracks()[0].onended = () => {
    if (!signal.aborted) fail(new Error("The camera has gone."));
  };
  video.removeAttribute("src");
  video.srcObject = stream;
  find("hint").hidden = true;
  await video.play();
  say(`The first label comes after ${recipe.clip_seconds.toFixed(1)} s.`);
  await offerOther(stream.getTracks()[0].getSettings().deviceId);
  followFrames(signal);
}

// A button for the next camera, as phones have one on either side.
async function offerOther(device) {
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  const next = cameras[(cameras.findIndex(({ deviceId }) => deviceId === device) + 1) % cameras.length];
  find("other").hidden = cameras.length < 2;
  find("other").onclick = () => watchCamera(next.deviceId).catch(fail);
}

function followFrames(signal) {
  const [windows, picture] = [new CameraWindows(recipe, settings), new Picture(recipe)];
  const speed = new Speed();
  let first = null;
  let isBusy = false;
  const look = async () => {
    const window = windows.take();
    if (!window) return;
    isBusy = true;
    const before = performance.now();
    const probabilities = await model.answer(window.frames);
    isBusy = false;
    if (signal.aborted) return;
    say("");
    speed.look(performance.now() - before);
    const label = timeline.add({ ...window, probabilities });
    view.drawLabel(label, timeline.decider.confidence);
    view.drawBars(timeline.decider.smoothed, label);
    view.drawTimeline(timeline);
  };
  const onFrame = (now, metadata) => {
    if (signal.aborted) return;
    video.requestVideoFrameCallback(onFrame);
    const seconds = (metadata.captureTime ?? now) / 1000;
    first ??= seconds;
    windows.push(seconds - first, () => picture.read());
    picture.draw(video);
    speed.frame(seconds);
    view.drawSpeed(speed);
    if (!isBusy) look().catch(fail);
  };
  video.requestVideoFrameCallback(onFrame);
}

// Wait for an event of the video; raise what is wrong with it.
function until(name, signal) {
  return new Promise((resolve, reject) => {
    const options = { once: true, signal };
    video.addEventListener(name, resolve, options);
    video.addEventListener("error", () => reject(new Error("This browser cannot play the file as a video.")), options);
    signal.addEventListener("abort", () => reject(signal.reason), options);
  });
}

async function readFile(file) {
  const signal = begin();
  const url = URL.createObjectURL(file);
  signal.addEventListener("abort", () => {
    URL.revokeObjectURL(url);
    video.removeAttribute("src");
    video.load();
  });
  video.srcObject = null;
  video.src = url;
  await until("loadeddata", signal);
  if (!video.videoWidth || !Number.isFinite(video.duration)) throw new Error(`${file.name} has no pictures, or no end.`);
  find("hint").hidden = true;
  await lookThrough(signal);
  timeline.end = video.duration;
  const segments = timeline.segments();
  const onSeek = (seconds) => (video.currentTime = seconds + 0.001);
  view.drawTimeline(timeline, { duration: video.duration, onSeek });
  showIdle();
  find("speed").hidden = true;
  video.controls = true;
  video.ontimeupdate = () => {
    const { label, confidence } = segments.find(({ end }) => end > video.currentTime) ?? segments.at(-1);
    view.drawLabel(label, confidence);
    view.drawBars(timeline.smoothedAt(video.currentTime), label);
    view.drawCursor(video.currentTime / video.duration);
  };
  video.currentTime = 0;
  document.body.dataset.done = "true";
}

// Look at all windows of the video, whose frames are sought one by one: none is left out, however slow the device.
async function lookThrough(signal) {
  const [duration, picture] = [video.duration, new Picture(recipe)];
  const windows = windowsOfFile(recipe, settings, duration);
  const key = (moment) => Math.round(1e6 * moment);
  const moments = [...new Map(windows.flatMap((window) => window.moments).map((moment) => [key(moment), moment])).values()];
  moments.sort((one, other) => one - other);
  const frames = new Map();
  const before = performance.now();
  for (const window of windows) {
    while (moments.length && moments[0] <= window.moments.at(-1) + 1e-6) {
      const moment = moments.shift();
      const sought = until("seeked", signal);
      video.currentTime = moment + 1e-4; // not the frame before one that appears just then
      await sought;
      picture.draw(video);
      frames.set(key(moment), { pixels: picture.read() });
    }
    const probabilities = await model.answer(window.moments.map((moment) => frames.get(key(moment))));
    signal.throwIfAborted();
    for (const each of frames.keys()) if (each < key(window.moments[0])) frames.delete(each);
    const label = timeline.add({ ...window, probabilities });
    view.drawLabel(label, timeline.decider.confidence);
    view.drawBars(timeline.decider.smoothed, label);
    view.drawTimeline(timeline, { duration });
    const speed = window.end / ((performance.now() - before) / 1000);
    view.drawSpeed(`${((100 * window.end) / duration).toFixed(0)}% seen, ${speed.toFixed(1)} times as fast as it plays`);
  }
}

function fail(error) {
  if (error.name === "AbortError") return;
  end();
  const words = { NotAllowedError: "The camera was not allowed.", NotFoundError: "There is no camera.", NotReadableError: "Another program has the camera." };
  view?.hideLabel();
  say(words[error.name] ?? error.message, true);
}

find("camera").onclick = () => watchCamera().catch(fail);
find("choose").onclick = () => find("file").click();
find("stop").onclick = () => {
  end();
  view.clear();
};
find("save").onclick = () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([timeline.toCsv()], { type: "text/csv" }));
  link.download = "timeline.csv";
  link.click();
  URL.revokeObjectURL(link.href);
};
find("file").onchange = () => {
  const [file] = find("file").files;
  find("file").value = ""; // the same one can be chosen again
  if (file) readFile(file).catch(fail);
};
document.ondragover = (event) => {
  event.preventDefault();
  find("stage").classList.add("over");
};
document.ondragleave = () => find("stage").classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  find("stage").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file && model) readFile(file).catch(fail);
};
start().catch(fail);
