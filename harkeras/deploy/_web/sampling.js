// Which moments of a video a model looks at: windows as long as its training clips, with the frames spread over
// each as they were in training. These are the rules of `WindowBuffer` and `FrameSampler` in harkeras.inference.

const ROUNDING_SECONDS = 1e-6;
const TOLERANCE_SECONDS = 1e-9;

// The middles of equal parts of a window: of each, the frame that is on screen is looked at.
function middles(start, seconds, frames) {
  return Array.from({ length: frames }, (_, part) => start + ((part + 0.5) * seconds) / frames);
}

// The windows {start, end, moments} of a video of known length. A shorter one is seen as one clip.
export function windowsOfFile(recipe, settings, duration) {
  const { frames, clip_seconds: clip } = recipe;
  const stride = settings.stride_seconds;
  const count = Math.floor((duration - clip + ROUNDING_SECONDS) / stride) + 1;
  if (count < 1) return [{ start: 0, end: duration, moments: middles(0, duration, frames) }];
  return Array.from({ length: count }, (_, number) => {
    const start = number * stride;
    return { start, end: start + clip, moments: middles(start, clip, frames) };
  });
}

// The windows of a camera. Of all frames that come, it keeps those that were on screen in the middle of a part of
// some window, which is known when the next one comes.
export class CameraWindows {
  constructor(recipe, settings) {
    this.frames = recipe.frames;
    this.clip = recipe.clip_seconds;
    this.stride = settings.stride_seconds;
    this.middles = middles(0, this.clip, this.frames);
    this.first = null;
  }

  startAnew(seconds) {
    this.first = seconds;
    this.next = 0; // number of the next window
    this.kept = []; // {seconds, pixels, features}
  }

  // A frame comes; `read` gives the pixels of the one that was on screen until now.
  push(seconds, read) {
    const step = seconds - this.shown;
    if (this.first === null || step < 0 || step > 2 * (this.clip + this.stride)) this.startAnew(seconds);
    else if (this.isNeeded(this.shown, seconds)) this.kept.push({ seconds: this.shown, pixels: read() });
    this.shown = seconds;
    this.forget(Math.max(this.first + this.next * this.stride, seconds - this.clip - 2 * this.stride));
  }

  // Whether a moment of some window lies in [begin, end).
  isNeeded(begin, end) {
    return this.middles.some((middle) => {
      const from = begin - this.first - ROUNDING_SECONDS - middle;
      const number = Math.max(Math.ceil((from - TOLERANCE_SECONDS) / this.stride), 0);
      return number * this.stride < from + (end - begin) + TOLERANCE_SECONDS;
    });
  }

  // The newest complete window {start, end, frames} that was not taken yet, or null.
  take() {
    if (this.first === null) return null;
    const newest = Math.floor((this.shown - this.first - this.clip + ROUNDING_SECONDS) / this.stride);
    if (newest < this.next) return null;
    const start = this.first + newest * this.stride;
    const frames = this.middles.map((middle) => this.onScreen(start + middle));
    this.next = newest + 1;
    return { start, end: start + this.clip, frames };
  }

  onScreen(seconds) {
    return this.kept.findLast((frame) => frame.seconds <= seconds + ROUNDING_SECONDS) ?? this.kept[0];
  }

  // Drop the frames that were gone before a moment.
  forget(seconds) {
    const old = this.kept.findLastIndex((frame) => frame.seconds <= seconds + ROUNDING_SECONDS);
    if (old > 0) this.kept.splice(0, old);
  }
}
