import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Engine, initialize, nn, TrainyardError } from '../src/index.js';
import { openSafetensors } from '../src/store/safetensors.js';
import { run } from './command-line.js';
import { readJson } from './models-harness.js';
import { trainRanks } from './train-ranks.js';

// Each folder is an adapter with what PEFT made of it: see make_adapters.py.
const FIXTURES = join(import.meta.dirname, '../../test/fixtures');
const EMPTY = join(FIXTURES, 'empty-config.json');

interface Expected {
  readonly base: string;
  readonly batch_size: number;
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

type Settings = Readonly<Record<string, unknown>>;

interface Event {
  readonly event: string;
  readonly loss: number;
  readonly grad_norm: number;
  readonly predicted_peak_bytes?: readonly number[];
  readonly measured_peak_bytes?: readonly number[];
}

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-adapter-'));
});
after(() => rmSync(root, { recursive: true }));

const adapterFolder = (name: string): string => join(FIXTURES, 'adapters', name);
const modelFolder = (name: string): string => join(FIXTURES, 'models', name);

async function succeed(command: string, args: readonly string[], settings: Settings = {}): Promise<string> {
  const flags = Object.entries(settings).flatMap(([key, value]) => [
    '--set',
    `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  ]);
  const { exitCode, stdout, stderr } = await run([command, ...args, ...flags]);
  assert.equal(exitCode, 0, stderr);
  return stdout;
}

/** The settings under which an adapter's answers were made. */
function settingsOf(name: string): Settings {
  const { base, batch_size, train } = readJson<Expected>(adapterFolder(name), 'expected.json');
  const { lr, betas, eps, weight_decay } = train;
  return {
    model: modelFolder(base),
    'data.path': join(modelFolder(base), 'batches.jsonl'),
    steps: train.losses.length,
    train_batch_size: batch_size,
    gradient_clipping: train.clip,
    optimizer: { type: 'AdamW', params: { lr, betas, eps, weight_decay } },
    adapter: { type: 'lora', path: adapterFolder(name) },
  };
}

async function train(ranks: number, settings: Settings): Promise<readonly Event[]> {
  const { steps: done, end } = await trainRanks(ranks, settings);
  return [...done, { ...end, grad_norm: Number.NaN }];
}

function steps(events: readonly Event[]): readonly Event[] {
  return events.filter(({ event }) => event === 'step');
}

function tensors(path: string): ReadonlyMap<string, Float32Array> {
  const file = openSafetensors(path);
  return new Map(file.names.map((name) => [name, new Float32Array(file.bytes(name).slice().buffer)]));
}

function near(got: number | undefined, expected: number | undefined, tolerance: number, what: string): void {
  assert.ok(got !== undefined && expected !== undefined, `${what} is missing`);
  assert.ok(
    Math.abs(got - expected) <= tolerance * Math.max(1, Math.abs(expected)),
    `${what}: ${got} for ${expected}`,
  );
}

function allNear(
  got: ReadonlyMap<string, Float32Array>,
  expected: ReadonlyMap<string, Float32Array>,
  tolerance: number,
): void {
  assert.deepEqual([...got.keys()].sort(), [...expected.keys()].sort());
  for (const [name, values] of expected) {
    for (const [index, value] of values.entries())
      near(got.get(name)?.[index], value, tolerance, `${name}[${index}]`);
  }
}

describe('PEFT’s losses, gradient norms and trained matrices', { concurrency: 1 }, () => {
  const cases = [
    ['llama', 1, { zero_optimization: { stage: 0 } }],
    ['llama', 2, { zero_optimization: { stage: 3 }, gradient_accumulation_steps: 2 }],
    ['llama', 4, { zero_optimization: { stage: 2 }, recompute: { policy: 'always' } }],
    ['qwen2-all', 2, { zero_optimization: { stage: 1 } }],
    ['gpt2', 2, { zero_optimization: { stage: 0 }, recompute: { policy: 'always' } }],
    ['gpt2', 2, { zero_optimization: { stage: 3, stage3_param_persistence_threshold: 0 } }],
  ] as const;
  for (const [name, ranks, settings] of cases) {
    test(`${name} on ${ranks}: ${JSON.stringify(settings)}`, async () => {
      const { train: expected } = readJson<Expected>(adapterFolder(name), 'expected.json');
      const output = join(root, `${name}-${ranks}-${settings.zero_optimization.stage}`);
      const events = await train(ranks, { ...settingsOf(name), ...settings, output });
      assert.equal(steps(events).length, expected.losses.length);
      for (const [index, { loss, grad_norm }] of steps(events).entries()) {
        near(loss, expected.losses[index], 1e-4, `loss of step ${index + 1}`);
        near(grad_norm, expected.grad_norms[index], 1e-4, `norm of step ${index + 1}`);
      }
      const files = readdirSync(output).filter((file) => file !== 'checkpoints');
      assert.deepEqual(files.sort(), ['adapter_config.json', 'adapter_model.safetensors']);
      allNear(
        tensors(join(output, 'adapter_model.safetensors')),
        tensors(join(adapterFolder(name), 'trained.safetensors')),
        1e-4,
      );
    });
  }
});

describe('an adapter merged into its model', { concurrency: 1 }, () => {
  for (const name of readdirSync(join(FIXTURES, 'adapters'))) {
    test(`${name}: the weights that PEFT makes, and the others as they were`, async () => {
      const { base } = readJson<Expected>(adapterFolder(name), 'expected.json');
      const output = join(root, `merged-${name}`);
      await succeed('merge', [adapterFolder(name), '--model', modelFolder(base), '--output', output]);
      const expected = new Map([
        ...tensors(join(modelFolder(base), 'model.safetensors')),
        ...tensors(join(adapterFolder(name), 'merged.safetensors')),
      ]);
      allNear(tensors(join(output, 'model.safetensors')), expected, 1e-6);
      assert.ok(existsSync(join(output, 'config.json')));
    });
  }

  test('a run that merges saves what the merged adapter of the same run is, and takes the adapter’s place', async () => {
    const settings = { ...settingsOf('gpt2'), steps: 3 };
    const [apart, merged, output] = ['apart', 'merged', 'output'].map((name) => join(root, `run-${name}`));
    assert.ok(apart && merged && output);
    await train(1, { ...settings, output: apart });
    cpSync(apart, output, { recursive: true });
    await succeed('merge', [apart, '--output', merged]);
    const adapter = { type: 'lora', path: adapterFolder('gpt2'), merge: true };
    await train(2, { ...settings, zero_optimization: { stage: 3 }, adapter, output });
    assert.ok(!existsSync(join(output, 'adapter_config.json')));
    allNear(tensors(join(output, 'model.safetensors')), tensors(join(merged, 'model.safetensors')), 1e-5);
  });

  test('without its model it is an error that says what to name', async () => {
    const { exitCode, stderr } = await run(['merge', adapterFolder('llama'), '--output', join(root, 'no')]);
    assert.equal(exitCode, 2);
    assert.match(stderr, /llama-gqa-tied[\s\S]*--model/);
  });
});

test('a new adapter changes nothing at first, and is the same for every stage and number of ranks', async () => {
  const adapter = { type: 'lora', targets: 'all-linear', rank: 2 };
  const settings = { ...settingsOf('llama'), steps: 1, adapter };
  const { adapter: _, ...without } = settings;
  const plain = await train(1, without);
  let first: Buffer | undefined;
  for (const [ranks, stage] of [
    [1, 0],
    [2, 3],
    [2, 1],
  ] as const) {
    const output = join(root, `new-${ranks}-${stage}`);
    const optimizer = { type: 'AdamW', params: { lr: 0 } };
    const [step] = steps(
      await train(ranks, { ...settings, optimizer, output, zero_optimization: { stage } }),
    );
    near(step?.loss, steps(plain)[0]?.loss, 1e-6, 'loss');
    const weights = readFileSync(join(output, 'adapter_model.safetensors'));
    first ??= weights;
    assert.ok(first.equals(weights), `${ranks} ranks, stage ${stage}`);
  }
});

test('dropout reaches training alone, and is replayed where blocks are recomputed', async () => {
  const name = 'llama';
  const folder = join(root, 'with-dropout');
  cpSync(adapterFolder(name), folder, { recursive: true });
  const config = readJson<Settings>(folder, 'adapter_config.json');
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...config, lora_dropout: 0.5 }));
  const settings = { ...settingsOf(name), steps: 4, adapter: { type: 'lora', path: folder } };
  const losses = async (more: Settings) =>
    steps(await train(1, { ...settings, ...more })).map(({ loss }) => loss);
  const kept = await losses({});
  assert.deepEqual(await losses({ recompute: { policy: 'always' } }), kept);
  const { train: expected } = readJson<Expected>(adapterFolder(name), 'expected.json');
  assert.ok(kept.every((loss, step) => Math.abs(loss - (expected.losses[step] ?? 0)) > 1e-4));
  const inspection = JSON.parse(await succeed('inspect', [EMPTY, '--json'], settings)) as { loss: number };
  near(inspection.loss, expected.losses[0], 1e-5, 'loss without dropout');
});

test('generation reads an adapter folder, and writes what the merged model writes', async () => {
  const base = join(root, 'speaking');
  const corpus = join(root, 'corpus.txt');
  writeFileSync(corpus, 'the quick brown fox jumps over the lazy dog\n'.repeat(50));
  const model = { architecture: 'llama', vocab_size: 260, hidden_size: 16, intermediate_size: 24 };
  const small = { ...model, num_hidden_layers: 2, num_attention_heads: 2, tie_word_embeddings: true };
  await succeed('tokenizer', ['train', corpus, '--output', join(root, 'bpe'), '--vocabulary-size', '260']);
  const settings = {
    'data.path': corpus,
    'data.sequence_length': 16,
    'data.tokenizer': join(root, 'bpe'),
    train_batch_size: 4,
    steps: 2,
    optimizer: { type: 'AdamW', params: { lr: 0.05 } },
  };
  await train(1, { ...settings, model: small, output: base });
  const adapter = { type: 'lora', targets: 'all-linear', rank: 4, alpha: 64 };
  const [adapted, merged] = [join(root, 'spoken'), join(root, 'spoken-merged')];
  await train(1, { ...settings, model: base, adapter, output: adapted });
  await succeed('merge', [adapted, '--output', merged]);
  const speak = (folder: string) =>
    succeed('generate', [folder, '--prompt', 'the', '--temperature', '0', '--max-tokens', '12']);
  const text = await speak(adapted);
  assert.equal(text, await speak(merged));
  assert.notEqual(text, await speak(base));
});

test('the ledger has a line for constants, and gradients and optimizer of the adapter alone', async () => {
  interface Described {
    readonly trainableElements: number;
    readonly check: { readonly peak: { readonly ledger: Readonly<Record<string, number>> } };
  }
  const model = { architecture: 'llama', vocab_size: 300, hidden_size: 64, intermediate_size: 96 };
  const settings = {
    model: { ...model, num_hidden_layers: 4, num_attention_heads: 4, tie_word_embeddings: true },
    train_batch_size: 2,
    'data.path': join(modelFolder('llama-gqa-tied'), 'batches.jsonl'),
    'data.sequence_length': 24,
    adapter: { type: 'lora', targets: ['q_proj', 'v_proj'], rank: 2 },
    steps: 2,
  };
  const base = 300 * 64 + 4 * (4 * 64 * 64 + 3 * 64 * 96 + 2 * 64) + 64;
  // Cosines and sines of 32 positions, for heads of 16.
  const constants = 4 * (base + 2 * 32 * 8);
  const adapter = 4 * 2 * 2 * (64 + 64);
  for (const stage of [0, 1, 2, 3]) {
    const ranks = stage === 0 ? 1 : 2;
    const zero = { zero_optimization: { stage } };
    const stdout = await succeed('program', [EMPTY, '--json', '--ranks', String(ranks)], {
      ...settings,
      ...zero,
    });
    for (const { trainableElements, check } of JSON.parse(stdout) as readonly Described[]) {
      const { ledger } = check.peak;
      assert.equal(trainableElements, adapter);
      assert.equal(ledger.constants, constants);
      assert.equal(ledger.optimizer, (8 * adapter) / ranks);
      // From stage 2 on a rank keeps its part, and memory for up to three of the four blocks' whole gradients.
      const most = stage < 2 ? adapter : adapter / ranks + (3 * adapter) / 4;
      assert.ok((ledger.gradients ?? 0) <= 4 * (most + 3), JSON.stringify(ledger));
    }
    const end = (await train(ranks, { ...settings, ...zero })).at(-1);
    for (const [rank, predicted] of (end?.predicted_peak_bytes ?? []).entries()) {
      near(
        (end?.measured_peak_bytes?.[rank] ?? 0) / predicted,
        1,
        0.05,
        `peak of rank ${rank}, stage ${stage}`,
      );
    }
  }
});

test('a program adapts a model of its own, saves the adapter and loads it, and cannot write what is frozen', () => {
  const normal = { kind: 'normal', mean: 0, std: 0.2 } as const;
  const block = (name: string): nn.Block => ({
    name,
    parameters: [
      { name: 'left.weight', shape: [6, 8], initializer: normal, linear: 'outputs × inputs' },
      { name: 'right.weight', shape: [6, 8], initializer: normal, linear: 'inputs × outputs' },
    ],
    forward: (parameters, { hidden }) => {
      assert.ok(hidden);
      const inner = nn.linear(hidden, parameters.get('left.weight')).tanh();
      return { hidden: nn.transposedLinear(inner, parameters.get('right.weight')) };
    },
  });
  const table = { name: 'weight', shape: [20, 8], initializer: normal };
  const model: nn.Model = {
    architecture: 'own',
    vocabularySize: 20,
    blocks: [
      {
        name: 'embedding',
        parameters: [table],
        forward: (parameters, _, { batch }) => ({
          hidden: nn.embedding(parameters.get('weight'), batch.inputIds),
        }),
      },
      block('first'),
      block('second'),
      {
        name: 'head',
        parameters: [table],
        forward: (parameters, { hidden }, { batch, lossScale, wantLogits }) => {
          assert.ok(hidden);
          const options = { labels: batch.labels, lossScale, wantLogits };
          return nn.linearCrossEntropy(hidden, parameters.get('weight'), options);
        },
      },
    ],
  };
  const start = (seed: number) =>
    initialize({
      model,
      config: {
        seed,
        train_batch_size: 1,
        adapter: { type: 'lora', targets: ['left', 'second.right'], rank: 2 },
        optimizer: { type: 'AdamW', params: { lr: 0.05 } },
      },
    });
  const engine = start(1);
  const inputIds = [[3, 1, 4, 1, 5, 9, 2, 6]];
  assert.equal(engine.parameterCount, 2 * (2 * (8 + 6)) + 2 * (6 + 8));
  assert.equal(engine.frozenParameterCount, 2 * 20 * 8 + 4 * 6 * 8);
  const losses = [1, 2, 3, 4, 5].map(() => engine.trainBatch({ inputIds }).loss);
  assert.ok((losses.at(-1) ?? Number.NaN) < (losses[0] ?? 0));
  const folder = join(root, 'own');
  engine.saveModel(folder);

  const name = 'second.right.lora_B.weight';
  const read = (from: Engine) => from.gathered([name], (whole) => whole.get(name)?.toArray());
  const trained = read(engine);
  engine.close();
  const other = start(1);
  assert.notDeepEqual(read(other), trained);
  other.loadModel(folder);
  assert.deepEqual(read(other), trained);
  assert.throws(
    () => other.gathered(['head.weight'], (whole) => void whole.get('head.weight')?.zero_()),
    (error) => error instanceof TrainyardError && error.code === 'TENSOR_CONSTANT',
  );
  assert.throws(() => other.loadModel(adapterFolder('llama')), /does not fit[\s\S]*has no place/);
  other.close();
});
