import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { CheckpointDifference } from '../src/engine/checkpoint-tools/diff.js';
import { initialize, type UserConfig } from '../src/index.js';
import { loadCheckpoint } from '../src/store/checkpoint.js';
import { openModelFolder, type StoredTensor } from '../src/store/hugging-face/model-folder.js';
import { writeSafetensors } from '../src/store/safetensors/write.js';
import { run } from './command-line.js';

const MODELS = join(import.meta.dirname, '../../test/fixtures/models');
const MODEL = join(MODELS, 'llama-gqa-tied');

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-tools-'));
});
after(() => rmSync(root, { recursive: true }));

function train(model: string, output: string, steps: readonly number[]): void {
  const config: UserConfig = {
    model,
    train_batch_size: 2,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
  };
  using engine = initialize({ config });
  for (let step = 1; step <= Math.max(...steps); step += 1) {
    engine.trainBatch({ inputIds: [0, 1].map((row) => Array.from({ length: 8 }, (_, i) => row + step + i)) });
    if (steps.includes(step)) engine.save(join(output, 'checkpoints'));
  }
}

test('ls, verify and diff say what there is, what is damaged and what differs', async () => {
  const output = join(root, 'run');
  train(MODEL, output, [1, 2]);
  const listed = await run(['checkpoint', 'ls', output]);
  assert.match(listed.stdout, /^step-2 .+ step 2 .+ tensors in 1 part +ok\nstep-1 .+ok\n$/);
  assert.equal((await run(['checkpoint', 'verify', output])).exitCode, 0);
  const folder = (tag: string): string => join(output, 'checkpoints', tag);
  const same = await run(['checkpoint', 'diff', folder('step-2'), output]);
  assert.deepEqual([same.exitCode, /the same tensors/.test(same.stdout)], [0, true]);
  const different = await run(['checkpoint', 'diff', folder('step-1'), folder('step-2'), '--json']);
  assert.equal(different.exitCode, 1);
  const { tensors } = JSON.parse(different.stdout) as CheckpointDifference;
  assert.ok(tensors.some(({ name, kind }) => name === 'model.norm.weight' && kind === 'values'));
  const part = join(folder('step-1'), 'part-00000.safetensors');
  const content = readFileSync(part);
  content[content.length - 1] = (content.at(-1) ?? 0) ^ 1;
  writeFileSync(part, content);
  const verified = await run(['checkpoint', 'verify', output]);
  assert.equal(verified.exitCode, 2);
  assert.match(verified.stdout, /^step-2 .+ok\nstep-1 .+damaged: in part-00000\.safetensors, the tensor /);
  assert.match(verified.stderr, /CHECKPOINT_INVALID: A checkpoint is damaged/);
  const none = await run(['checkpoint', 'ls', join(root, 'nothing')]);
  assert.deepEqual([none.exitCode, /no such folder/.test(none.stderr)], [2, true]);
});

test('a model becomes a checkpoint and a model again, byte for byte, and a run goes on from it', async () => {
  const [output, exported] = [join(root, 'imported'), join(root, 'exported')];
  for (const args of [
    ['import', MODEL, '--output', output],
    ['export', output, '--output', exported],
  ]) {
    const { exitCode, stderr } = await run(['checkpoint', ...args]);
    assert.equal(exitCode, 0, stderr);
  }
  const [before, after] = [openModelFolder(MODEL), openModelFolder(exported)];
  assert.deepEqual([...after.names].sort(), [...before.names].sort());
  for (const name of before.names)
    assert.deepEqual(bytesOf(after.read(name)), bytesOf(before.read(name)), name);
  using engine = initialize({ config: { model: MODEL, train_batch_size: 1 } });
  const found = engine.load(join(output, 'checkpoints'));
  assert.match(found?.notes.join() ?? '', /imported without optimizer states/);
  assert.equal(engine.steps, 0);
});

test('a checkpoint of several steps is exported as it is, in the dtype that was asked for', async () => {
  const [output, exported] = [join(root, 'trained'), join(root, 'halved')];
  train(MODEL, output, [3]);
  const { exitCode, stderr } = await run([
    ...['checkpoint', 'export', output, '--output', exported, '--dtype', 'bfloat16'],
  ]);
  assert.equal(exitCode, 0, stderr);
  const [model, checkpoint] = [openModelFolder(exported), loadCheckpoint(join(output, 'checkpoints'))];
  assert.equal(model.config.dtype, 'bfloat16');
  for (const name of model.names) {
    const { dtype, shape, bytes } = model.read(name);
    const saved = checkpoint?.read(name);
    assert.deepEqual([dtype, shape], ['bfloat16', saved?.shape]);
    const [values, halves] = [
      new Float32Array(saved?.bytes().slice().buffer ?? []),
      new Uint16Array(bytes.slice().buffer),
    ];
    for (const [index, half] of halves.entries()) {
      const [widened = Number.NaN] = new Float32Array(Uint32Array.of(half << 16).buffer);
      const value = values[index] ?? Number.NaN;
      assert.ok(
        Math.abs(widened - value) <= Math.abs(value) / 256,
        `${name} ${index}: ${widened} for ${value}`,
      );
    }
  }
});

test("DeepSpeed's universal folder, converted to safetensors, becomes a checkpoint with its moments", async () => {
  const [trained, output] = [join(root, 'source'), join(root, 'universal')];
  train(MODEL, trained, [2]);
  const checkpoint = loadCheckpoint(join(trained, 'checkpoints'));
  assert.ok(checkpoint);
  const universal = join(root, 'ds');
  const parameters = checkpoint.names.filter((name) => !name.startsWith('optimizer.'));
  for (const parameter of parameters) {
    const folder = join(universal, 'zero', `module.${parameter}`);
    mkdirSync(folder, { recursive: true });
    for (const [state, name] of [
      ['fp32', parameter],
      ['exp_avg', `optimizer.exp_avg.${parameter}`],
      ['exp_avg_sq', `optimizer.exp_avg_sq.${parameter}`],
    ] as const) {
      const { dtype, shape, bytes } = checkpoint.read(name);
      writeSafetensors(join(folder, `${state}.safetensors`), [
        { name: 'param', dtype, shape, bytes: bytes() },
      ]);
    }
  }
  const without = await run(['checkpoint', 'import', universal, '--output', output]);
  assert.deepEqual([without.exitCode, /--step/.test(without.stderr)], [2, true]);
  const imported = await run([
    ...['checkpoint', 'import', universal, '--output', output, '--step', '2', '--model', MODEL],
  ]);
  assert.equal(imported.exitCode, 0, imported.stderr);
  const same = await run(['checkpoint', 'diff', trained, output]);
  assert.equal(same.exitCode, 0, same.stdout);
  using engine = initialize({
    config: { model: MODEL, train_batch_size: 2, optimizer: { type: 'AdamW', params: { lr: 0.01 } } },
  });
  engine.load(join(output, 'checkpoints'));
  assert.equal(engine.steps, 2);
});

/** Where Python with transformers is, if anybody has said so. */
const PYTHON = process.env.TRAINYARD_PYTHON;

test("Python's safetensors and transformers open what was exported (TRAINYARD_PYTHON)", async (context) => {
  if (PYTHON === undefined) {
    context.diagnostic(
      'not compared: set TRAINYARD_PYTHON to a Python with torch, safetensors and transformers',
    );
    return;
  }
  const [output, exported] = [join(root, 'python'), join(root, 'for-python')];
  train(MODEL, output, [2]);
  const { exitCode, stderr } = await run(['checkpoint', 'export', output, '--output', exported]);
  assert.equal(exitCode, 0, stderr);
  const part = join(output, 'checkpoints/step-2/part-00000.safetensors');
  const { status, stderr: said } = spawnSync(PYTHON, ['-c', COMPARE, exported, part], { encoding: 'utf8' });
  assert.equal(status, 0, said);
});

const COMPARE = `
import sys, torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
exported, part = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32)
stored, saved = load_file(exported + "/model.safetensors"), load_file(part)
weights = {name: value for name, value in saved.items() if not name.startswith("optimizer.")}
assert set(stored) == set(weights), set(stored) ^ set(weights)
for name, value in model.state_dict().items():
    name = "model.embed_tokens.weight" if name == "lm_head.weight" else name
    assert torch.equal(value, stored[name]) and torch.equal(value, weights[name]), name
`;

function bytesOf({ dtype, shape, bytes }: StoredTensor): string {
  return `${dtype} [${shape.join()}] ${Buffer.from(bytes).toString('hex')}`;
}
