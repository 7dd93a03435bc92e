// The model, in ONNX Runtime Web: one network of whole clips, one of single frames and one of their features, or
// one that takes a frame and what the frames before left, its states.

import { InferenceSession, Tensor, env } from "./onnxruntime/ort.js";

env.wasm.proxy = true; // computes in a worker, so that the page stays awake; threads where the host allows them

function joined(arrays) {
  const all = new arrays[0].constructor(arrays.reduce((sum, each) => sum + each.length, 0));
  let place = 0;
  for (const each of arrays) {
    all.set(each, place);
    place += each.length;
  }
  return all;
}

const ARRAYS = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array };

// The states of a stream that has seen nothing yet; what is open in their shapes is the number of streams.
function emptyStates(session) {
  const states = session.inputMetadata.filter(({ name }) => name !== "clip");
  return states.map(({ name, type, shape }) => {
    const sizes = shape.map((size) => (typeof size === "number" ? size : 1));
    const length = sizes.reduce((product, size) => product * size, 1);
    return [name, new Tensor(type, new ARRAYS[type](length), sizes)];
  });
}

async function run(session, data, shape) {
  const [name] = session.inputNames;
  const type = data instanceof Uint8Array ? "uint8" : "float32";
  return (await session.run({ [name]: new Tensor(type, data, shape) }))[session.outputNames[0]];
}

export class Model {
  static async load(recipe, networks) {
    const model = new Model();
    const { height, width, streams } = recipe;
    model.shape = [height, width, streams === "gray" ? 1 : 3];
    model.sessions = [];
    for (const name of networks) model.sessions.push(await InferenceSession.create(name));
    return model;
  }

  // Probabilities of a window of frames {pixels}. The features of a frame are computed once, and kept with it.
  async answer(frames) {
    const [network, head] = this.sessions;
    if (network.inputNames.length > 1) return this.follow(network, frames);
    let output;
    if (head) {
      await this.encode(network, [...new Set(frames)].filter((frame) => !frame.features));
      output = await run(head, joined(frames.map((frame) => frame.features)), [1, frames.length, ...this.features]);
    } else {
      output = await run(network, joined(frames.map((frame) => frame.pixels)), [1, frames.length, ...this.shape]);
    }
    return Array.from(output.data);
  }

  async follow(network, frames) {
    let states = emptyStates(network);
    let outputs;
    for (const { pixels } of frames) {
      const clip = new Tensor("uint8", pixels.slice(), [1, 1, ...this.shape]); // running takes it away
      outputs = await network.run({ clip, ...Object.fromEntries(states) });
      states = states.map(([name]) => [name, outputs[`next_${name}`]]);
    }
    return Array.from(outputs.probabilities.data);
  }

  async encode(encoder, frames) {
    if (!frames.length) return;
    const output = await run(encoder, joined(frames.map((frame) => frame.pixels)), [frames.length, ...this.shape]);
    this.features = output.dims.slice(1);
    const size = output.data.length / frames.length;
    frames.forEach((frame, row) => {
      frame.features = output.data.slice(row * size, (row + 1) * size);
      frame.pixels = null;
    });
  }
}
