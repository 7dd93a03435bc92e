// One picture of a video: kept until it is known whether a model looks at it, then made as small as the model's.

// Which pixels of a row of `from` make each of `to`, and how much: by area where it shrinks, or between two.
function axis(from, to, interpolation) {
  const scale = from / to;
  const byArea = interpolation === "area" && to < from;
  return Array.from({ length: to }, (_, place) => {
    if (!byArea) {
      const center = Math.min(Math.max((place + 0.5) * scale - 0.5, 0), from - 1);
      const first = Math.floor(center);
      return first + 1 < from ? { first, weights: [first + 1 - center, center - first] } : { first, weights: [1] };
    }
    const [begin, end] = [place * scale, (place + 1) * scale];
    const first = Math.floor(begin + 1e-9);
    const weights = [];
    for (let pixel = first; pixel < end - 1e-9; pixel += 1) {
      weights.push((Math.min(pixel + 1, end) - Math.max(pixel, begin)) / scale);
    }
    return { first, weights };
  });
}

// RGBA {data, width, height} -> RGB of the wanted size, Uint8Array (H x W x 3), as harkeras.video resizes.
export function resize(image, height, width, interpolation) {
  const { data } = image;
  const columns = axis(image.width, width, interpolation);
  const narrow = new Float32Array(image.height * width * 3);
  let place = 0;
  for (let row = 0; row < image.height; row += 1) {
    for (const { first, weights } of columns) {
      let red = 0;
      let green = 0;
      let blue = 0;
      let pixel = 4 * (row * image.width + first);
      for (let step = 0; step < weights.length; step += 1, pixel += 4) {
        const weight = weights[step];
        red += weight * data[pixel];
        green += weight * data[pixel + 1];
        blue += weight * data[pixel + 2];
      }
      narrow[place] = red;
      narrow[place + 1] = green;
      narrow[place + 2] = blue;
      place += 3;
    }
  }
  const small = new Uint8ClampedArray(height * width * 3); // which rounds
  axis(image.height, height, interpolation).forEach(({ first, weights }, row) => {
    for (let column = 0; column < 3 * width; column += 1) {
      let sum = 0;
      weights.forEach((weight, step) => (sum += weight * narrow[3 * width * (first + step) + column]));
      small[3 * width * row + column] = sum;
    }
  });
  return new Uint8Array(small.buffer);
}

// RGB -> gray, as OpenCV weighs the colors.
export function toGray(pixels) {
  return Uint8Array.from({ length: pixels.length / 3 }, (_, place) =>
    Math.round(0.299 * pixels[3 * place] + 0.587 * pixels[3 * place + 1] + 0.114 * pixels[3 * place + 2]),
  );
}

export class Picture {
  constructor(recipe) {
    this.recipe = recipe;
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
  }

  // Keep what a video shows now.
  draw(video) {
    if (this.canvas.width !== video.videoWidth) this.canvas.width = video.videoWidth;
    if (this.canvas.height !== video.videoHeight) this.canvas.height = video.videoHeight;
    this.context.drawImage(video, 0, 0);
  }

  // What the model sees of it.
  read() {
    const { height, width, interpolation, streams } = this.recipe;
    const image = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    const pixels = resize(image, height, width, interpolation);
    return streams === "gray" ? toGray(pixels) : pixels;
  }
}
