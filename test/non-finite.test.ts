import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { NonFiniteStep } from '../src/engine/non-finite/guard.js';
import { runTraining } from '../src/engine/train.js';
import { initialize, replayBundle, TrainyardError, type UserConfig } from '../src/index.js';
import { singleRank } from '../src/launch/environment.js';
import type { RankEvent, StepEvent } from '../src/launch/events.js';
import type { Activations, Block } from '../src/nn/block.js';
import { run } from './command-line.js';
import type { NonFiniteRank } from './non-finite-program.js';
import { OWN_BLOCKS_MODEL } from './own-blocks-model.js';
import { runRanks } from './run-ranks.js';
import { TRAPPED_MODEL, TRAPS } from './trapped-model.js';

const EMPTY = join(import.meta.dirname, '../../test/fixtures/empty-config.json');
const root = mkdtempSync(join(tmpdir(), 'trainyard-non-finite-'));
after(() => rmSync(root, { recursive: true }));

test('a step that is not finite on one rank is left out bit by bit on all of them, and is found again by one process', async () => {
  const ranks = await runRanks<readonly NonFiniteRank[]>('non-finite-program.js', 2, [root]);
  assert.deepEqual(ranks[0], ranks[1]);
  for (const { stage, skipped, before, after, end, twin, stop, steps } of ranks[0] ?? []) {
    assert.equal(before, after);
    assert.equal(end, twin);
    const places = skipped.map((each) => {
      assert.equal(each?.decision, 'skip');
      const { first, vanished } = each.diagnosis;
      assert.equal(vanished, false);
      assert.ok(first !== undefined && first.kind !== 'parameter');
      return [first.rank, first.module, first.kind, first.value, first.instruction].join(', ');
    });
    assert.deepEqual(places, [
      '1, trap, output, infinity, forward block.2 micro 1',
      '1, trap, gradient, NaN, backward block.2 micro 1',
    ]);
    // Two weights are skipped over, the third ends the run: the first weight of which some is NaN is named.
    assert.equal(steps, 6);
    assert.match(stop.what, /^TRAINING_DIVERGED: The loss of step 7 is not finite, after 2 skipped in a row/);
    assert.match(stop.got, /first NaN: the weight layers\.1\.narrow\.weight of layers\.1, on rank/);
    assert.match(stop.where, stage === 0 ? /^rank 0, step 7$/ : /^rank 1, step 7$/);

    const bundles = join(root, `stage-${stage}`, 'non-finite');
    assert.deepEqual(readdirSync(bundles), ['step-2', 'step-3', 'step-5', 'step-7']);
    // How the weights were divided makes no difference to what is saved of them.
    if (stage !== 3) continue;
    for (const [name, kind] of [
      ['step-2', 'output'],
      ['step-3', 'gradient'],
      ['step-7', 'parameter'],
    ] as const) {
      const { found, recorded } = replayBundle({ bundle: join(bundles, name), model: TRAPPED_MODEL });
      assert.equal(found?.kind, kind);
      assert.deepEqual(
        [found.module, found.tensor, found.value],
        [recorded?.module, recorded?.tensor, recorded?.value],
      );
      if (kind !== 'parameter') assert.equal(found.rank, 1);
    }
  }
});

/** What becomes of a step of one process in which the outputs of the last block are changed. */
function stepWith(change: (output: Activations) => Activations): NonFiniteStep | undefined {
  let isArmed = false;
  const blocks = OWN_BLOCKS_MODEL.blocks.map((block): Block => {
    if (block.name !== 'head') return block;
    const forward: Block['forward'] = (...given) => {
      const output = block.forward(...given);
      return isArmed ? change(output) : output;
    };
    return { ...block, forward };
  });
  const engine = initialize({
    config: { train_batch_size: 1, non_finite: { action: 'skip' } },
    model: { ...OWN_BLOCKS_MODEL, blocks },
  });
  const weights = () =>
    engine.gathered(engine.parameterNames, (tensors) => [...tensors.values()].map((each) => each.toArray()));
  const batch = { inputIds: [[1, 2, 3, 4]] };
  engine.trainBatch(batch);
  const before = weights();
  isArmed = true;
  const { nonFinite, skipped } = engine.trainBatch(batch);
  assert.equal(skipped, true);
  assert.deepEqual(weights(), before);
  engine.close();
  return nonFinite;
}

test('a loss that is infinite while its gradients are finite is one that is not finite', () => {
  const found = stepWith(({ loss, ...others }) => ({
    ...others,
    ...(loss && { loss: loss.add(Number.POSITIVE_INFINITY) }),
  }));
  const first = found?.diagnosis.first;
  assert.deepEqual([first?.module, first?.tensor, first?.value], ['head', 'loss', 'infinity']);
});

test('what is finite when it is computed again is said to have vanished, and updates nothing', () => {
  let times = 0;
  const found = stepWith(({ loss, ...others }) => {
    times += 1;
    return { ...others, ...(loss && { loss: times === 1 ? loss.mul(Number.NaN) : loss }) };
  });
  assert.equal(times, 2);
  assert.equal(found?.diagnosis.vanished, true);
  assert.equal(found.diagnosis.first, undefined);
});

/** Trains on batches that each have the same gradient that is not finite, and returns the error that ends it. */
function trainUntilStop(
  name: string,
  config: UserConfig,
): { readonly steps: number; readonly error: TrainyardError } {
  const engine = initialize({
    config: { train_batch_size: 1, output: join(root, name), ...config },
    model: TRAPPED_MODEL,
  });
  try {
    while (engine.steps < 200) engine.trainBatch({ inputIds: [[1, TRAPS.gradient, 2, 3]] });
  } catch (error) {
    if (!(error instanceof TrainyardError)) throw error;
    return { steps: engine.steps, error };
  } finally {
    engine.close();
  }
  throw new Error('the run did not stop');
}

const fp16 = { enabled: true, initial_scale_power: 3, min_loss_scale: 2, hysteresis: 1 };

test('in fp16 steps are left out without a bundle until the loss scale is spent, and then one is kept', () => {
  const { steps, error } = trainUntilStop('spent', { fp16 });
  // From 8 over 4 to 2, and not further.
  assert.equal(steps, 2);
  assert.equal(error.code, 'LOSS_SCALE_EXHAUSTED');
  assert.match(error.report.where ?? '', /^rank 0, step 3, instruction \d+: backward block\.2 micro 0$/);
  assert.match(error.report.got ?? '', /^loss scale 2, .*first NaN: the gradient of .* in trap, on rank 0/);
  const bundles = join(root, 'spent', 'non-finite');
  assert.deepEqual(readdirSync(bundles), ['step-3']);
  const { found } = replayBundle({ bundle: join(bundles, 'step-3'), model: TRAPPED_MODEL });
  assert.deepEqual([found?.module, found?.kind, found?.value], ['trap', 'gradient', 'NaN']);
});

test('in fp16 a policy says what becomes of overflows that the loss scale does not answer', () => {
  const { steps, error } = trainUntilStop('skips', { fp16, non_finite: { action: 'skip', limit: 2 } });
  assert.equal(steps, 4);
  assert.equal(error.code, 'LOSS_SCALE_EXHAUSTED');
  assert.match(error.report.what, /, after 2 skipped in a row/);
  assert.deepEqual(readdirSync(join(root, 'skips', 'non-finite')), ['step-3', 'step-4', 'step-5']);
});

test('what only leaves steps out does so a hundred times in a row, and no longer', () => {
  for (const [name, precision] of [
    ['bf16', { bf16: { enabled: true } }],
    ['static', { fp16: { enabled: true, loss_scale: 4 } }],
  ] as const) {
    const { steps, error } = trainUntilStop(name, precision);
    assert.equal(steps, 100, name);
    assert.equal(error.code, 'TRAINING_DIVERGED');
    assert.match(error.report.what, /step 101 is not finite, after 100 steps in a row that were left out/);
    assert.deepEqual(readdirSync(join(root, name, 'non-finite')), ['step-101']);
  }
});

/** A model that cannot read a Z: the weights of that byte are NaN. */
function modelWithoutZ(): string {
  const model = {
    architecture: 'llama',
    vocab_size: 256,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    tie_word_embeddings: false,
  };
  const engine = initialize({ config: { model, train_batch_size: 1 } });
  const name = 'model.embed_tokens.weight';
  engine.gathered([name], (tensors) => void tensors.get(name)?.select(0, 'Z'.charCodeAt(0)).mul_(Number.NaN));
  const folder = join(root, 'model');
  engine.saveModel(folder);
  engine.close();
  return folder;
}

async function train(config: UserConfig): Promise<readonly RankEvent[]> {
  const events: RankEvent[] = [];
  await runTraining({
    configPath: EMPTY,
    overrides: Object.entries(config).map(([key, value]) => `${key}=${JSON.stringify(value)}`),
    environment: singleRank(),
    sink: (event) => void (event.event !== 'section' && events.push(event)),
    signal: new AbortController().signal,
  });
  return events;
}

test('a run rewinds to its checkpoint and goes on without the batch, as if that had never been', async () => {
  const lines = Array.from({ length: 12 }, (_, row) => ({ text: `row ${row} of some more rows of text` }));
  const write = (name: string, rows: readonly object[]): string => {
    const path = join(root, name);
    writeFileSync(path, rows.map((each) => `${JSON.stringify(each)}\n`).join(''));
    return path;
  };
  const withZ = lines.map((line, row) =>
    row === 1 || row === 6 ? { text: `Zow ${row} of some more rows of text` } : line,
  );
  const config = (name: string, rows: readonly object[]): UserConfig => ({
    model: modelWithoutZ(),
    data: {
      path: write(`${name}.jsonl`, rows),
      tokenizer: 'bytes',
      sequence_length: 24,
      shuffle: false,
      pack: false,
    },
    steps: 4,
    train_batch_size: 2,
    optimizer: { type: 'AdamW', params: { lr: 1e-2 } },
    output: join(root, name),
  });
  const rewinding = await train({
    ...config('rewinding', withZ),
    checkpoint: { interval: 2 },
    non_finite: { action: 'rewind' },
  });
  // Batches have two rows: the first and the fourth are bad.
  const good = lines.filter((_, row) => ![0, 1, 6, 7].includes(row));
  const without = await train(config('without', good));
  const seen = rewinding.filter((event): event is StepEvent => event.event === 'step');
  assert.deepEqual(
    seen.map(({ step, non_finite }) => `${step} ${non_finite?.decision ?? 'done'}`),
    ['1 rewind', '1 done', '2 done', '3 rewind', '3 done', '4 done'],
  );
  const losses = (events: readonly RankEvent[]) =>
    events.flatMap((event) => (event.event === 'step' && event.non_finite === undefined ? [event.loss] : []));
  assert.deepEqual(losses(rewinding), losses(without));

  const bundle = join(root, 'rewinding', 'non-finite', 'step-3');
  const { exitCode, stdout, stderr } = await run(['replay', bundle]);
  assert.equal(exitCode, 0, stderr);
  assert.match(stdout, /^found +NaN in model: parameter model\.embed_tokens\.weight, rank 0$/m);
});
