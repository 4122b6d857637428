import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MeshRun } from './mesh-program.js';
import { runRanks } from './run-ranks.js';

/** Nothing divides: vocabulary and hidden units are padded, and the head is tied over stages. */
const MODEL = {
  architecture: 'llama',
  vocab_size: 37,
  hidden_size: 24,
  intermediate_size: 27,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 6,
  tie_word_embeddings: true,
};

type Settings = Readonly<Record<string, unknown>>;

function train(ranks: number, settings: Settings): Promise<readonly MeshRun[]> {
  const config = {
    model: MODEL,
    train_batch_size: 8,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    gradient_clipping: 0.5,
    ...settings,
  };
  return runRanks<MeshRun>('mesh-program.js', ranks, [JSON.stringify(config)]);
}

const zero = (stage: number): Settings => ({
  stage,
  ...(stage === 3 && { stage3_param_persistence_threshold: 0 }),
});

/** Ranks, settings, and a group in which something has to travel. */
const LAYOUTS: readonly (readonly [number, Settings, string?])[] = [
  [2, { mesh: { tensor: 2 } }],
  // In shared memory small sums are read whole by everybody, which is more than formulas say.
  [4, { mesh: { tensor: 4, sequence_parallel: true }, communication: { algorithm: 'backend' } }],
  [4, { mesh: { tensor: 2, sequence_parallel: true }, zero_optimization: zero(3) }],
  [4, { mesh: { pipeline: 2 }, zero_optimization: zero(2), gradient_accumulation_steps: 2 }],
  [
    2,
    {
      mesh: { pipeline: 2 },
      pipeline: { schedule: 'interleaved', chunks: 2 },
      gradient_accumulation_steps: 4,
    },
  ],
  [2, { sequence_parallel_size: 2, zero_optimization: zero(1) }],
  [4, { sequence_parallel_size: 4, zero_optimization: zero(3), recompute: { policy: 'always' } }],
  [4, { sequence_parallel_size: 2, mesh: { tensor: 2, sequence_parallel: true } }],
  [4, { mesh: { pipeline: 4 }, pipeline: { partition: 'uniform' } }],
  [4, { mesh: { pipeline: 2, tensor: 2 }, gradient_accumulation_steps: 2, recompute: { policy: 'always' } }],
  [
    8,
    {
      mesh: { pipeline: 2 },
      zero_optimization: { ...zero(3), mics_shard_size: 2 },
      gradient_accumulation_steps: 2,
    },
    'replicate',
  ],
  [
    8,
    {
      mesh: { pipeline: 2 },
      pipeline: { schedule: 'zero-bubble' },
      zero_optimization: { ...zero(3), zero_hpz_partition_size: 2 },
      gradient_accumulation_steps: 2,
    },
    'secondary',
  ],
  [
    8,
    {
      mesh: { tensor: 2, sequence_parallel: true },
      zero_optimization: { ...zero(3), zero_hpz_partition_size: 2 },
    },
    'secondary',
  ],
];

describe('a model whose sizes do not divide', { concurrency: 1 }, () => {
  let alone: MeshRun | undefined;
  for (const [ranks, settings, group] of LAYOUTS) {
    test(`${JSON.stringify(settings)} on ${ranks}: as one process, and the bytes that programs say`, async () => {
      alone ??= (await train(1, {}))[0];
      const runs = await train(ranks, settings);
      for (const { losses, norms, atStart, sent, said, leaked } of runs) {
        assert.equal(atStart, alone?.atStart, 'the same first weights');
        near(losses, alone?.losses);
        near(norms, alone?.norms);
        assert.deepEqual(rounded(sent), rounded(said));
        if (group !== undefined) assert((said[group] ?? 0) > 0, `nothing travels in ${group}`);
        assert.equal(leaked, 0, 'tensors leaked');
      }
    });
  }
});

/** Ranks, settings, a compression, and what of the data axis's bytes it leaves at most. */
const COMPRESSED: readonly (readonly [number, Settings, string, number])[] = [
  [4, { mesh: { tensor: 2 } }, 'fp16', 0.51],
  [
    8,
    {
      model: { ...MODEL, tie_word_embeddings: false },
      mesh: { pipeline: 2, tensor: 2, sequence_parallel: true },
      zero_optimization: { ...zero(3), zero_quantized_weights: true },
      bf16: { enabled: true },
      recompute: { policy: 'always' },
      gradient_accumulation_steps: 2,
    },
    'int8',
    0.95,
  ],
];

describe('in fewer bits along the data axis of a mesh', { concurrency: 1 }, () => {
  for (const [ranks, settings, compression, share] of COMPRESSED) {
    test(`${compression} beside ${JSON.stringify(settings)} on ${ranks}`, async () => {
      const whole = await train(ranks, settings);
      const runs = await train(ranks, { ...settings, communication: { compression } });
      for (const [rank, { losses, sent, said, leaked }] of runs.entries()) {
        near(losses, whole[rank]?.losses, 1e-2);
        assert.deepEqual(rounded(sent), rounded(said));
        assert((sent.data ?? 0) <= share * (whole[rank]?.sent.data ?? 0), `${sent.data} bytes`);
        assert.equal(leaked, 0, 'tensors leaked');
      }
    });
  }
});

function near(actual: readonly number[], expected: readonly number[] | undefined, tolerance = 1e-5): void {
  assert(expected !== undefined && actual.length === expected.length, `${actual} for ${expected}`);
  for (const [index, value] of actual.entries()) {
    const wanted = expected[index] ?? Number.NaN;
    const off = Math.abs(value - wanted);
    assert(off <= tolerance * Math.abs(wanted), `step ${index}: ${value}, not ${wanted}`);
  }
}

function rounded(bytes: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  return Object.fromEntries(
    ['pipeline', 'data', 'tensor', 'sequence', 'replicate', 'secondary'].map((axis) => [
      axis,
      Math.round(bytes[axis] ?? 0),
    ]),
  );
}
