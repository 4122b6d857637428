import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import type { ReplicaOutcome, ReplicaTask } from './redundancy-program.js';
import { runRanks } from './run-ranks.js';

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-redundancy-'));
});
after(() => rmSync(root, { recursive: true }));

/** Odd sizes everywhere, tied embeddings. */
const MODEL = {
  architecture: 'llama',
  vocab_size: 301,
  hidden_size: 20,
  intermediate_size: 27,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 10,
  tie_word_embeddings: true,
} as const;

const BASE: UserConfig = {
  model: MODEL,
  train_batch_size: 12,
  gradient_clipping: 1,
  optimizer: { type: 'AdamW', params: { lr: 0.01 } },
  redundancy: { type: 'local', sync_every: 3 },
};

function train(ranks: number, config: UserConfig, task: ReplicaTask): Promise<readonly ReplicaOutcome[]> {
  const args = [JSON.stringify({ ...BASE, ...config }), JSON.stringify(task)];
  return runRanks<ReplicaOutcome>('redundancy-program.js', ranks, args);
}

/** Of all ranks, in one step. */
function weightsIn(outcomes: readonly ReplicaOutcome[], step: number): readonly (string | undefined)[] {
  return outcomes.map(({ steps }) => steps[step - 1]?.weights);
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

describe('zero bytes between synchronisations, and in one what its program says', { concurrency: 1 }, () => {
  for (const [ranks, algorithm] of [
    [2, 'auto'],
    [3, 'backend'],
    [4, 'ring'],
    [4, 'auto'],
  ] as const) {
    test(`${ranks} ranks, ${algorithm}`, async () => {
      const outcomes = await train(ranks, { communication: { algorithm } }, { steps: 7 });
      for (const { steps, predicted } of outcomes) {
        assert.equal(predicted.apart, 0);
        assert.ok(predicted.meeting > 0);
        const expected = [0, 0, predicted.meeting, 0, 0, predicted.meeting, 0];
        assert.deepEqual(
          steps.map(({ exchangedBytes }) => exchangedBytes),
          expected,
        );
        assert.deepEqual(
          steps.map(({ drift }) => drift !== undefined),
          expected.map((bytes) => bytes > 0),
        );
      }
      assert.equal(new Set(weightsIn(outcomes, 6)).size, 1, 'all have the same weights then');
      assert.equal(new Set(weightsIn(outcomes, 7)).size, ranks, 'and their own after the next step');
      assert.equal(
        new Set(outcomes.map(({ steps }) => steps[5]?.loss)).size,
        1,
        'the loss is the mean of all',
      );
      assert.equal(new Set(outcomes.map(({ steps }) => steps[6]?.loss)).size, ranks, 'and else its own');
    });
  }
});

test('replicas that never meet send nothing at all', async () => {
  const outcomes = await train(2, { redundancy: { type: 'local', sync_every: 'never' } }, { steps: 4 });
  for (const { steps, predicted } of outcomes) {
    assert.deepEqual(predicted, { apart: 0, meeting: 0 });
    assert.equal(sumOf(steps.map(({ exchangedBytes }) => exchangedBytes)), 0);
  }
  assert.equal(new Set(weightsIn(outcomes, 4)).size, 2);
});

const STILL: UserConfig = {
  model: {
    ...MODEL,
    vocab_size: 11,
    hidden_size: 4,
    head_dim: 2,
    intermediate_size: 5,
    num_hidden_layers: 1,
  },
  optimizer: { type: 'SGD', params: { lr: 0 } },
};

for (const outer of [
  { type: 'average' },
  { type: 'nesterov' },
  { type: 'nesterov', lr: 0.5, momentum: 0 },
  { type: 'nesterov', lr: 0.3, momentum: 0.6 },
] as const) {
  test(`the outer step and the drift are those of the formulas: ${JSON.stringify(outer)}`, async () => {
    for (const ranks of [1, 3]) {
      const redundancy = { type: 'local', sync_every: 1, outer } as const;
      const results = await runRanks('outer-step-program.js', ranks, [
        JSON.stringify({ ...BASE, ...STILL, redundancy }),
      ]);
      for (const result of results) assert.deepEqual(result, results[0]);
    }
  });
}

test('averaged after every step, SGD is training one model', async () => {
  const sgd: UserConfig = { optimizer: { type: 'SGD', params: { lr: 0.5 } }, gradient_clipping: 0 };
  const average = { type: 'local', sync_every: 1, outer: { type: 'average' } } as const;
  const [together] = await train(3, { ...sgd, redundancy: undefined }, { steps: 5 });
  const [local] = await train(3, { ...sgd, redundancy: average }, { steps: 5 });
  for (const [index, { loss }] of (local?.steps ?? []).entries()) {
    const expected = together?.steps[index]?.loss ?? Number.NaN;
    assert.ok(Math.abs(loss / expected - 1) < 1e-5, `step ${index + 1}: ${loss} for ${expected}`);
  }
});

const PRECISIONS: Readonly<Record<string, UserConfig>> = {
  bf16: { bf16: { enabled: true } },
  fp16: { fp16: { enabled: true, initial_scale_power: 8 } },
  'recomputation and accumulation': {
    recompute: { policy: 'always' },
    gradient_accumulation_steps: 2,
  },
  LoRA: { adapter: { type: 'lora', targets: ['q_proj', 'v_proj'], rank: 3, dropout: 0.1 } },
};

describe('replicas in other ways of training', { concurrency: 1 }, () => {
  for (const [name, config] of Object.entries(PRECISIONS)) {
    test(name, async () => {
      const outcomes = await train(2, config, { steps: 6 });
      assert.equal(new Set(weightsIn(outcomes, 5)).size, 2);
      assert.equal(new Set(weightsIn(outcomes, 6)).size, 1);
      for (const { steps, predicted } of outcomes) {
        const sent = steps.map(({ exchangedBytes }) => exchangedBytes);
        assert.deepEqual(sent, [0, 0, predicted.meeting, 0, 0, predicted.meeting]);
        assert.ok((steps.at(-1)?.loss ?? 9) < (steps[2]?.loss ?? 0), 'it learns');
      }
    });
  }
});

test('in fp16 each rank leaves out its own steps, and all meet all the same', async () => {
  // A scale at which gradients overflow now on one rank and now on the other.
  const config: UserConfig = { fp16: { enabled: true, initial_scale_power: 22, hysteresis: 1 } };
  const outcomes = await train(2, config, { steps: 9 });
  const skipped = outcomes.map(({ steps }) => steps.map((step) => step.skipped));
  assert.notDeepEqual(skipped[0], skipped[1]);
  for (const { steps, predicted } of outcomes) {
    for (const meeting of [2, 5, 8]) assert.equal(steps[meeting]?.exchangedBytes, predicted.meeting);
  }
  assert.equal(new Set(weightsIn(outcomes, 9)).size, 1);
});

describe('checkpoints', { concurrency: 1 }, () => {
  const dropout: UserConfig = {
    adapter: { type: 'lora', targets: ['q_proj', 'v_proj'], rank: 3, dropout: 0.2 },
    scheduler: { type: 'WarmupLR', params: { warmup_num_steps: 20 } },
  };
  const ways: Readonly<Record<string, UserConfig>> = {
    nesterov: {},
    average: { redundancy: { type: 'local', sync_every: 3, outer: { type: 'average' } } },
    never: { redundancy: { type: 'local', sync_every: 'never' } },
    'fp16, where ranks leave out other steps': {
      fp16: { enabled: true, initial_scale_power: 22, hysteresis: 1 },
    },
    'LoRA with dropout': dropout,
  };
  for (const [name, config] of Object.entries(ways)) {
    test(`a resumed run is the run that never stopped, to the last bit: ${name}`, async () => {
      const folder = join(root, name);
      const whole = await train(2, config, { steps: 11, save: { folder, after: 7 } });
      const resumed = await train(2, config, { steps: 11, load: folder });
      for (const [rank, { atStart, steps, notes }] of resumed.entries()) {
        assert.equal(atStart, whole[rank]?.steps[6]?.weights);
        assert.deepEqual(steps, whole[rank]?.steps.slice(7));
        assert.deepEqual(notes, []);
      }
      assert.notEqual(resumed[0]?.atStart, resumed[1]?.atStart);
    });
  }

  test('on another number of ranks a run goes on from the common weights of the last synchronisation', async () => {
    const folder = join(root, 'other-world');
    const saved = await train(2, {}, { steps: 5, save: { folder, after: 5 } });
    for (const ranks of [1, 3]) {
      const resumed = await train(ranks, {}, { steps: 9, load: folder });
      for (const { atStart, notes } of resumed) {
        assert.equal(atStart, saved[0]?.steps[2]?.weights);
        assert.match(
          notes.join(),
          new RegExp(`2 replicas for ${ranks} ranks: all go on from the common weights`),
        );
      }
      assert.equal(new Set(weightsIn(resumed, 5)).size, 1, 'they meet after step 9');
    }
  });

  test('of replicas that never meet, each new rank takes one', async () => {
    const never: UserConfig = { redundancy: { type: 'local', sync_every: 'never' } };
    const folder = join(root, 'never-other');
    const saved = await train(2, never, { steps: 3, save: { folder, after: 3 } });
    const resumed = await train(3, never, { steps: 4, load: folder });
    assert.deepEqual(
      resumed.map(({ atStart }) => atStart),
      [0, 1, 0].map((rank) => saved[rank]?.steps[2]?.weights),
    );
  });

  test('replicas become one model, and one model becomes replicas', async () => {
    const [replicas, one] = [join(root, 'replicas'), join(root, 'one')];
    const together: UserConfig = { redundancy: undefined };
    const local = await train(2, {}, { steps: 5, save: { folder: replicas, after: 5 } });
    const [joined] = await train(2, together, { steps: 6, load: replicas });
    assert.equal(joined?.atStart, local[0]?.steps[2]?.weights);
    assert.match(joined?.notes.join() ?? '', /has 2 replicas: the run goes on from the common weights/);
    const whole = await train(2, together, { steps: 5, save: { folder: one, after: 5 } });
    for (const { atStart, notes } of await train(2, {}, { steps: 6, load: one })) {
      assert.equal(atStart, whole[0]?.steps[4]?.weights);
      assert.deepEqual(notes, []);
    }
  });
});

test('any one rank evaluates, exports and generates while the others do nothing', async () => {
  for (const [name, rank, config] of [
    ['first', 0, {}],
    ['last', 2, {}],
    ['bf16', 1, { bf16: { enabled: true } }],
  ] as const) {
    const folder = mkdtempSync(join(root, `alone-${name}-`));
    await train(3, config, { steps: 5, alone: { rank, folder } });
    const { loss } = JSON.parse(readFileSync(join(folder, 'done'), 'utf8')) as { readonly loss: number };
    assert.ok(loss > 0 && loss < 7);
    const weights = readFileSync(join(folder, 'model', 'model.safetensors'));
    assert.ok(weights.length > 0);
  }
});
