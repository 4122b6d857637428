import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { invariant } from '../src/base/errors.js';
import { modelFromConfig, storedNames } from '../src/models/registry.js';
import type { BlockContext, MicroBatch, Model } from '../src/nn/block.js';
import { planFlatLayout } from '../src/nn/flat-layout.js';
import { FlatParameters } from '../src/nn/flat-parameters.js';
import { backward, noGrad } from '../src/tensor/autograd.js';
import { fromBytes, tensor } from '../src/tensor/create.js';
import { DTYPES, type DType } from '../src/tensor/dtype.js';
import { keep, scope, type Tensor } from '../src/tensor/tensor.js';

/** A folder's `expected.json`, as far as models go. */
export interface Expected {
  readonly batch_size: number;
  readonly loss: number;
  readonly logits_0_last: readonly number[];
  readonly logits_norm: number;
  readonly grad_norms: Readonly<Record<string, number>>;
  readonly train: {
    readonly lr: number;
    readonly betas: readonly [number, number];
    readonly eps: number;
    readonly weight_decay: number;
    readonly clip: number;
    readonly losses: readonly number[];
    readonly grad_norms: readonly number[];
  };
}

/** A model with its memory, run block by block without an engine. */
export interface Harness {
  readonly model: Model;
  readonly flat: FlatParameters;
}

/** What one forward and backward gave. */
export interface Outcome {
  readonly loss: number;
  /** A copy: the head's own turn into their gradient in backward. */
  readonly logits: Tensor | undefined;
}

export function readJson<Content>(folder: string, file: string): Content {
  return JSON.parse(readFileSync(join(folder, file), 'utf8')) as Content;
}

/** The first `steps` micro-batches of a folder's `batches.jsonl`, labels shifted by one inside each sequence. */
export function readBatches(folder: string, rows: number, steps: number): readonly MicroBatch[] {
  const lines = readFileSync(join(folder, 'batches.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .slice(0, rows * steps);
  const sequences = lines.map((line) => (JSON.parse(line) as { input_ids: readonly number[] }).input_ids);
  return Array.from({ length: steps }, (_, step) => {
    const part = sequences.slice(step * rows, (step + 1) * rows);
    return {
      inputIds: integers(part),
      labels: integers(part.map((sequence) => [...sequence.slice(1), -100])),
    };
  });
}

/** The first sequences of token ids of a folder's `batches.jsonl`. */
export function readSequences(folder: string, count: number): readonly (readonly number[])[] {
  const lines = readFileSync(join(folder, 'batches.jsonl'), 'utf8').trim().split('\n').slice(0, count);
  return lines.map((line) => (JSON.parse(line) as { input_ids: readonly number[] }).input_ids);
}

/** Rows of equal length as a kept int64 tensor. */
function integers(rows: readonly (readonly number[])[]): Tensor {
  const values = BigInt64Array.from(rows.flat(), BigInt);
  return keep(tensor(values, [rows.length, rows[0]?.length ?? 0]));
}

/** Builds the model of a folder and reads its weights. */
export function loadHarness(folder: string): Harness {
  return buildHarness(modelFromConfig(readJson(folder, 'config.json')), readWeights(folder));
}

/** How the memory of a model differs from the usual. */
export interface HarnessOptions {
  readonly isFrozen?: (name: string) => boolean;
  readonly dtype?: DType;
}

/** Lays a model out flat and fills it from stored tensors. */
export function buildHarness(
  model: Model,
  stored: ReadonlyMap<string, () => Tensor>,
  { isFrozen, dtype = 'float32' }: HarnessOptions = {},
): Harness {
  const layout = planFlatLayout(model.blocks, isFrozen);
  const flat = new FlatParameters(layout, { dtype, device: 'cpu', gradients: true });
  noGrad(() =>
    scope(() => {
      for (const { name, value } of flat.parameters) {
        const found = storedNames(model, name).find((each) => stored.has(each));
        const content = stored.get(found ?? '')?.();
        invariant(content !== undefined, `no stored tensor for ${name}`);
        value.copy_(content);
      }
    }),
  );
  return { model, flat };
}

/** The gradients of all parameters, end to end. */
export function gradientsOf({ flat }: Harness): Tensor {
  invariant(flat.gradients !== undefined, 'the harness asks for gradients');
  return flat.gradients.values;
}

/** One forward and backward from gradients of zero. */
export function runStep(harness: Harness, batch: MicroBatch, options: Partial<BlockContext> = {}): Outcome {
  gradientsOf(harness).zero_();
  return accumulate(harness, batch, options);
}

/** One forward and backward over the blocks, each with a graph of its own, as the executor runs them. */
export function accumulate(
  { model, flat }: Harness,
  batch: MicroBatch,
  options: Partial<BlockContext> = {},
): Outcome {
  const targets = batch.labels?.ne(-100).sum().item() ?? 1;
  const context = { batch, lossScale: 1 / targets, training: true, wantLogits: true, ...options };
  const runs: { readonly input: Tensor | undefined; readonly output: Tensor }[] = [];
  let hidden: Tensor | undefined;
  let logits: Tensor | undefined;
  for (const [index, block] of model.blocks.entries()) {
    const input = hidden?.detach();
    if (input !== undefined) input.requiresGrad = true;
    const parameters = flat.blocks[index];
    invariant(parameters !== undefined, 'every block has its parameters');
    const result = block.forward(parameters, input === undefined ? {} : { hidden: input }, context);
    const output = result.hidden ?? result.loss;
    invariant(output !== undefined, 'a block gives hidden or loss');
    runs.push({ input, output });
    hidden = result.hidden;
    logits = result.logits?.detach().clone();
  }
  const loss = runs.at(-1)?.output.item() ?? Number.NaN;
  let gradient: Tensor | undefined;
  for (const { input, output } of runs.reverse()) {
    if (!output.requiresGrad) break;
    backward([output], [gradient ?? null]);
    gradient = input?.grad;
  }
  return { loss, logits };
}

/** The norm of each trained parameter's gradient, by Hugging Face name. */
export function gradientNorms({ flat }: Harness): ReadonlyMap<string, number> {
  return new Map(
    flat.parameters.flatMap(({ name, gradient }) =>
      gradient === undefined ? [] : [[name, gradient.vectorNorm().item()]],
    ),
  );
}

/** Every tensor of a folder by its stored name, read in fp32 when asked for. */
export function readWeights(folder: string): ReadonlyMap<string, () => Tensor> {
  const tensors = new Map<string, () => Tensor>();
  for (const file of weightFiles(folder)) {
    const bytes = readFileSync(join(folder, file));
    const headerLength = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerLength)) as Record<string, StoredTensor>;
    for (const [name, entry] of Object.entries(header)) {
      if (name === '__metadata__') continue;
      const [begin, end] = entry.data_offsets;
      const content = bytes.subarray(8 + headerLength + begin, 8 + headerLength + end);
      tensors.set(name, () => fromBytes(content, entry.shape, dtypeNamed(entry.dtype)).to('float32'));
    }
  }
  return tensors;
}

interface StoredTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

function weightFiles(folder: string): readonly string[] {
  try {
    const index = readJson<{ weight_map: Record<string, string> }>(folder, 'model.safetensors.index.json');
    return [...new Set(Object.values(index.weight_map))];
  } catch {
    return ['model.safetensors'];
  }
}

function dtypeNamed(name: string): DType {
  const found = Object.entries(DTYPES).find(([, { safetensors }]) => safetensors === name);
  invariant(found !== undefined, `a stored dtype ${name}`);
  return found[0] as DType;
}
