import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { CommunicationAlgorithm } from '../src/comm/connect-exchange.js';
import type { StepEvent } from '../src/launch/events.js';
import { type Expected, readJson } from './models-harness.js';
import { near } from './near.js';
import { runRanks } from './run-ranks.js';
import { trainRanks } from './train-ranks.js';

const FIXTURES = join(import.meta.dirname, '../../test/fixtures');

/** Odd sizes everywhere, tied embeddings, a head with one small parameter of its own. */
const MODEL = {
  architecture: 'llama',
  vocab_size: 37,
  hidden_size: 20,
  intermediate_size: 27,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 10,
  tie_word_embeddings: true,
};

const ADAPTER = { type: 'lora', targets: ['q_proj', 'v_proj', 'down_proj'], rank: 3, dropout: 0.1 } as const;

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-zero-'));
  const lines = Array.from({ length: 120 }, (_, row) =>
    JSON.stringify({ input_ids: Array.from({ length: 12 }, (_, i) => (row * 11 + i * 5) % 37) }),
  );
  writeFileSync(join(root, 'data.jsonl'), `${lines.join('\n')}\n`);
});
after(() => rmSync(root, { recursive: true }));

type Settings = Readonly<Record<string, unknown>>;

/** At stage 3 every block is divided, small ones too. */
function atStage(stage: unknown): Settings {
  return stage === 3 ? { stage, stage3_param_persistence_threshold: 0 } : { stage };
}

async function train(ranks: number, settings: Settings): Promise<readonly StepEvent[]> {
  return (await trainRanks(ranks, settings)).steps;
}

/** Trains the odd model and returns the file of its weights. */
async function weightsAfter(ranks: number, name: string, settings: Settings): Promise<Buffer> {
  const output = join(root, name);
  await train(ranks, {
    model: MODEL,
    'data.path': join(root, 'data.jsonl'),
    steps: 5,
    train_batch_size: 12,
    gradient_clipping: 0.5,
    'optimizer.type': 'AdamW',
    'optimizer.params': { lr: 0.01 },
    output,
    ...settings,
  });
  return readFileSync(join(output, 'model.safetensors'));
}

describe('PyTorch’s losses and gradient norms, whatever is divided', { concurrency: 1 }, () => {
  const cases = [
    ['llama-gqa-tied', 1, 2, 2],
    ['llama-gqa-tied', 2, 4, 1],
    ['llama-gqa-tied', 3, 2, 2],
    ['gpt2-relu', 2, 2, 1],
    ['qwen3', 3, 4, 1],
  ] as const;
  for (const [name, stage, ranks, accumulation] of cases) {
    test(`${name}, stage ${stage} on ${ranks}, ${accumulation} micro-batches`, async () => {
      const folder = join(FIXTURES, 'models', name);
      const { batch_size, train: expected } = readJson<Expected>(folder, 'expected.json');
      const { lr, betas, eps, weight_decay } = expected;
      const steps = await train(ranks, {
        model: folder,
        'data.path': join(folder, 'batches.jsonl'),
        steps: expected.losses.length,
        train_batch_size: batch_size,
        gradient_accumulation_steps: accumulation,
        gradient_clipping: expected.clip,
        optimizer: { type: 'AdamW', params: { lr, betas, eps, weight_decay } },
        zero_optimization: { ...atStage(stage), reduce_bucket_size: 4096 },
      });
      assert.equal(steps.length, expected.losses.length);
      for (const [index, { loss, grad_norm }] of steps.entries()) {
        near(loss, expected.losses[index], 1e-4, `loss of step ${index + 1}`);
        near(grad_norm, expected.grad_norms[index], 1e-4, `norm of step ${index + 1}`);
      }
    });
  }
});

test('deterministic runs end with the same bits at every stage, bucket size, with overlap and without', async () => {
  const variants: readonly Settings[] = [
    { stage: 0 },
    { stage: 0, reduce_bucket_size: 500, overlap_comm: false },
    { stage: 1 },
    { stage: 2, reduce_bucket_size: 100 },
    { stage: 2, overlap_comm: false },
    { stage: 3, stage3_param_persistence_threshold: 0 },
    { stage: 3, overlap_comm: false, reduce_bucket_size: 1 },
    { stage: 3, stage3_prefetch_bucket_size: 900, stage3_max_live_parameters: 2000 },
  ];
  let first: Buffer | undefined;
  for (const [index, zero] of variants.entries()) {
    const weights = await weightsAfter(3, `same-${index}`, {
      gradient_accumulation_steps: 2,
      zero_optimization: zero,
      communication: { deterministic: true },
    });
    first ??= weights;
    assert.ok(first.equals(weights), JSON.stringify(zero));
  }
});

test('three ranks, which own odd slices, train as one does', async () => {
  const settings = {
    model: MODEL,
    'data.path': join(root, 'data.jsonl'),
    steps: 6,
    train_batch_size: 12,
    gradient_clipping: 0.5,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
  };
  const alone = await train(1, settings);
  for (const stage of [0, 1, 2, 3]) {
    const steps = await train(3, {
      ...settings,
      gradient_accumulation_steps: 4,
      zero_optimization: atStage(stage),
    });
    for (const [index, { loss, grad_norm }] of steps.entries()) {
      near(loss, alone[index]?.loss, 1e-5, `loss of step ${index + 1}, stage ${stage}`);
      near(grad_norm, alone[index]?.grad_norm, 1e-4, `norm of step ${index + 1}, stage ${stage}`);
    }
  }
});

interface Measured {
  /** Bytes that this rank exchanged in the second step, as its group counted them, and as its program says. */
  readonly sent: number;
  readonly predicted: number;
  readonly optimizerBytes: number;
  /** Elements of each block. */
  readonly lengths: readonly number[];
  /** Fingerprints of all parameters before the first step and after the last. */
  readonly atStart: string;
  readonly atEnd: string;
}

interface Task {
  readonly adapter?: boolean;
  readonly plain?: boolean;
  readonly untied?: boolean;
  readonly deterministic?: boolean;
  readonly algorithm?: CommunicationAlgorithm;
  readonly save?: string;
  readonly load?: string;
}

async function measure(
  ranks: number,
  zero: Settings,
  accumulation = 1,
  task: Task = {},
): Promise<readonly Measured[]> {
  const { algorithm = 'auto', deterministic = false } = task;
  const config = {
    model: { ...MODEL, tie_word_embeddings: task.untied !== true },
    ...(task.adapter === true && { adapter: ADAPTER }),
    train_batch_size: (6 % ranks === 0 ? 6 : 12) * accumulation,
    gradient_accumulation_steps: accumulation,
    gradient_clipping: 1,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    zero_optimization: { ...atStage(zero.stage), ...zero },
    communication: {
      deterministic,
      algorithm,
      ...(algorithm === 'hierarchical' && { topology: { ranks_per_host: 2 } }),
    },
  };
  return runRanks('zero-program.js', ranks, [JSON.stringify(config), JSON.stringify(task)]);
}

interface Traffic {
  readonly stage: 0 | 1 | 2 | 3;
  readonly ranks: number;
  readonly micros: number;
  readonly lengths: readonly number[];
  readonly isTied: boolean;
}

/**
 * What a rank sends in a step, by the papers' count: gradients once for every micro-batch, or once where they are
 * kept; parameters once, or at stage 3 for every use but those that follow one another. Of the tally each rank
 * tells each other four numbers; at stage 0 three travel with the gradients.
 */
function bytesByFormula({ stage, ranks, micros, lengths, isTied }: Traffic): number {
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const parameters = sum(lengths);
  const [embedding = 0, head = 0] = [lengths[0], lengths.at(-1)];
  // Forward and backward; the head's are one after the other, as are the embedding's of two micro-batches.
  const uses = micros * (2 * parameters - head + (isTied ? embedding : 0)) - (micros - 1) * embedding;
  const travelling = {
    0: 2 * (parameters + 3),
    1: 2 * parameters,
    2: (micros + 1) * parameters,
    3: micros * parameters + uses,
  }[stage];
  return (4 * travelling * (ranks - 1)) / ranks + (stage === 0 ? 0 : 32 * (ranks - 1));
}

describe('bytes that ranks exchange, as the process group counts them, are those of the formulas', {
  concurrency: 1,
}, () => {
  // In shared memory more than two ranks read small all-reduces whole: stage 0 on three is one over Gloo.
  for (const [algorithm, ranks, micros, untied, stages] of [
    ['auto', 2, 1, false, [0, 1, 2, 3]],
    ['auto', 3, 3, true, [1, 2, 3]],
    ['backend', 3, 2, false, [0, 1, 2, 3]],
    ['ring', 3, 2, false, [0, 1, 2, 3]],
    ['bidirectional-ring', 3, 1, false, [0, 2]],
    // Where there are as many as a power of two.
    ['halving-doubling', 4, 1, false, [0, 2]],
    // What of a bucket cannot be divided among the ranks of a host costs some bytes more.
    ['hierarchical', 4, 1, false, [1, 3]],
  ] as const) {
    for (const stage of stages) {
      test(`${algorithm}, stage ${stage} on ${ranks}, ${micros} micro-batches`, async () => {
        // In Gloo's own all-reduce nothing can be counted; sums in a fixed order are made of messages.
        const isCounted = algorithm !== 'auto' && algorithm !== 'backend';
        const task = { algorithm, untied, deterministic: stage === 0 && !isCounted };
        const results = await measure(ranks, { stage }, micros, task);
        const [{ lengths } = { lengths: [] }] = results;
        const formula = bytesByFormula({ stage, ranks, micros, lengths, isTied: !untied });
        const sentByAll = results.reduce((sum, { sent }) => sum + sent, 0);
        assert.equal(sentByAll, Math.round(ranks * formula));
        for (const { sent, predicted, optimizerBytes } of results) {
          if (stage > 0) assert.equal(sent, Math.round(predicted));
          const states = 8 * lengths.reduce((sum, length) => sum + length, 0);
          assert.equal(optimizerBytes, stage === 0 ? states : states / ranks);
        }
      });
    }
  }

  test('cut into small parts they are as many', async () => {
    for (const stage of [2, 3]) {
      for (const { sent, predicted } of await measure(2, { stage, reduce_bucket_size: 64 }, 3)) {
        assert.equal(sent, Math.round(predicted));
      }
    }
  });
});

describe('checkpoints fit every layout', { concurrency: 1 }, () => {
  test('a run goes on at another stage as if it had begun there, and on other ranks with the same values', async () => {
    const save = join(root, 'checkpoints');
    const [whole] = await measure(2, { stage: 3 }, 1, { save, deterministic: true });
    for (const stage of [0, 1, 2, 3]) {
      const [resumed] = await measure(2, { stage }, 1, { load: save, deterministic: true });
      assert.equal(resumed?.atEnd, whole?.atEnd, `stage ${stage}`);
    }
    const [two] = await measure(2, { stage: 2 }, 1, { load: save });
    for (const [ranks, stage] of [
      [1, 0],
      [3, 3],
      [3, 1],
    ] as const) {
      const [resumed] = await measure(ranks, { stage }, 1, { load: save });
      assert.equal(resumed?.atStart, two?.atStart, `${ranks} ranks, stage ${stage}`);
    }
  });
});

describe('an adapter on a frozen model', { concurrency: 1 }, () => {
  for (const stage of [1, 2, 3]) {
    test(`costs what its own parameters cost, stage ${stage}`, async () => {
      for (const { sent, predicted, optimizerBytes, lengths } of await measure(2, { stage }, 1, {
        adapter: true,
      })) {
        const parameters = lengths.reduce((sum, length) => sum + length, 0);
        // Three layers: q and v of rank 3 on 20 features, down on 27, each layer padded.
        assert.equal(parameters, 3 * Math.ceil((3 * (20 + 20) + 3 * (20 + 10) + 3 * (27 + 20)) / 16) * 16);
        assert.equal(sent, Math.round(predicted));
        assert.equal(optimizerBytes, (8 * parameters) / 2);
        assert.ok(stage === 3 || sent === 32 + 2 * 4 * (parameters / 2));
      }
    });
  }

  test('trains to the same bits at every stage, and goes on from a checkpoint at any', async () => {
    const save = join(root, 'adapter-checkpoints');
    const task = { adapter: true, deterministic: true };
    const [whole] = await measure(2, { stage: 3 }, 2, { ...task, save });
    for (const stage of [0, 1, 2, 3]) {
      const [result] = await measure(2, { stage }, 2, task);
      assert.equal(result?.atStart, whole?.atStart, `stage ${stage} starts`);
      assert.equal(result?.atEnd, whole?.atEnd, `stage ${stage} ends`);
      const [resumed] = await measure(2, { stage }, 2, { ...task, load: save });
      assert.equal(resumed?.atEnd, whole?.atEnd, `stage ${stage} goes on`);
    }
  });
});

test('a model of plain operators trains at every stage', async () => {
  const task = { plain: true, deterministic: true };
  const [first] = await measure(2, { stage: 0 }, 2, task);
  for (const stage of [1, 2, 3]) {
    const [result] = await measure(2, { stage }, 2, task);
    assert.equal(result?.atEnd, first?.atEnd, `stage ${stage}`);
  }
});
