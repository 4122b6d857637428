import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { initialize, nn, TrainyardError, type UserConfig } from '../src/index.js';
import { openSafetensors } from '../src/store/safetensors.js';
import { halvesJobs } from './matrix/jobs.js';
import { faultsOf, runJobs } from './matrix/run.js';
import { near } from './near.js';
import { PLAIN_MODEL } from './plain-model.js';
import { answeredTrainings, DROPOUT, GPT2, SEQUENCES, train } from './recompute-harness.js';
import { runRanks } from './run-ranks.js';

// Tiny kernels on several threads spend their time waiting for each other.
process.env.OMP_NUM_THREADS = '1';

const MODELS = join(import.meta.dirname, '../../test/fixtures/models');
const granularity = 'half';

/** Layers in halves of which none is recomputed. */
const KEPT = { policy: 'on-demand', limit_bytes: 1e12, granularity } as const;

const POLICIES: readonly NonNullable<UserConfig['recompute']>[] = [
  { policy: 'always', granularity },
  { policy: 'selected', every: 3, granularity },
  { policy: 'selected', blocks: ['*.mlp'], granularity },
  { policy: 'selected', blocks: ['*.0.attention', '*.1.*'], granularity },
];

describe('in halves, training is the same', { concurrency: 1 }, () => {
  for (const [index, { name, config, steps, sequences: read, demand }] of answeredTrainings().entries()) {
    test(`${name}: ${steps} steps of every other policy against their answers`, () => {
      const sequences = read();
      const whole = train({ ...config, recompute: { policy: 'always' } }, sequences, steps);
      const kept = train({ ...config, recompute: KEPT }, sequences, steps);
      const least = train({ ...config, recompute: { policy: 'always', granularity } }, sequences, 1);
      const between = Math.round((least.predicted + kept.predicted) / 2);
      const policies = [
        ...POLICIES,
        { policy: 'on-demand', limit_bytes: between, granularity } as const,
        { policy: 'budget', budget_bytes: kept.predicted, granularity } as const,
      ];
      for (const recompute of policies.filter((_, place) => (place + index) % 2 === 0)) {
        const run = train({ ...config, recompute }, sequences, steps);
        demand(run);
        for (const [step, loss] of whole.losses.entries()) {
          near(run.losses[step], loss, 1e-5, 'loss');
          near(run.norms[step], whole.norms[step] ?? Number.NaN, 1e-4, 'norm');
        }
        assert.ok(run.weights.equals(kept.weights), JSON.stringify(recompute));
      }
    });
  }

  for (const [name, transport] of [
    ['llama-gqa-tied', 'auto'],
    ['gpt2-relu', 'backend'],
  ] as const) {
    test(`${name}: every policy on two ranks, stages 0 and 3`, async () => {
      const jobs = halvesJobs(join(MODELS, name)).filter(
        ({ stage, accumulation }) => stage % 3 === 0 && accumulation === 2,
      );
      assert.ok(new Set(jobs.map(({ policy }) => policy)).size >= 5);
      assert.deepEqual(faultsOf(await runJobs(2, jobs, transport)), []);
    });
  }

  test('GPT-2 with dropout: the same weights to the last bit whatever is recomputed', () => {
    const model = { ...GPT2, ...DROPOUT };
    const config: UserConfig = { model, train_batch_size: 4, gradient_accumulation_steps: 2, seed: 3 };
    const kept = train({ ...config, recompute: KEPT }, SEQUENCES, 6);
    assert.deepEqual(kept.recomputed, []);
    for (const recompute of POLICIES) {
      const run = train({ ...config, recompute }, SEQUENCES, 6);
      assert.ok(run.recomputed.length > 0);
      assert.deepEqual(run.losses, kept.losses, JSON.stringify(recompute));
      assert.ok(run.weights.equals(kept.weights), JSON.stringify(recompute));
    }
  });

  test('a selection goes by the names of halves, and counts them', () => {
    const config: UserConfig = { model: GPT2, train_batch_size: 4 };
    const chosenBy = (selection: Readonly<Record<string, unknown>>) =>
      train({ ...config, recompute: { policy: 'selected', granularity, ...selection } }, SEQUENCES, 1)
        .recomputed;
    assert.deepEqual(chosenBy({ blocks: ['*.h.2.*', 'transformer.h.0.mlp'] }), [
      'transformer.h.2.mlp',
      'transformer.h.2.attention',
      'transformer.h.0.mlp',
    ]);
    // The embedding is the first; its recomputation would save nothing, nor would that of the head.
    assert.deepEqual(chosenBy({ every: 3 }), [
      'transformer.h.3.mlp',
      'transformer.h.2.attention',
      'transformer.h.0.mlp',
    ]);
    assert.throws(() => chosenBy({ blocks: ['transformer.h.2'] }), /transformer\.h\.\d\.\w+/);
  });
});

describe('what is saved does not depend on it', { concurrency: 1 }, () => {
  test('a checkpoint goes on with the other granularity', () => {
    const folder = mkdtempSync(join(tmpdir(), 'trainyard-halves-'));
    const inBlocks = { policy: 'always' } as const;
    const inHalves = { policy: 'always', granularity } as const;
    const config: UserConfig = { model: { ...GPT2, ...DROPOUT }, train_batch_size: 4, seed: 3 };
    const step = (engine: ReturnType<typeof initialize>) =>
      engine.trainBatch({ inputIds: SEQUENCES.slice(4 * (engine.steps % 2), 4 * (engine.steps % 2) + 4) });
    try {
      for (const [saved, loaded] of [
        [inBlocks, inHalves],
        [inHalves, inBlocks],
      ] as const) {
        // One after the other: engines of one process draw from one generator of random numbers.
        const whole = initialize({ config: { ...config, recompute: saved } });
        step(whole);
        step(whole);
        whole.save(folder);
        const values = valuesOf(whole);
        const losses = [step(whole).loss, step(whole).loss, step(whole).loss];
        whole.close();
        const rest = initialize({ config: { ...config, recompute: loaded } });
        assert.equal(rest.load(folder)?.tag, 'step-2');
        assert.deepEqual(valuesOf(rest), values);
        for (const loss of losses) near(step(rest).loss, loss, 1e-5, 'loss');
        rest.close();
        rmSync(folder, { recursive: true });
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test('a checkpoint of two ranks at stage 3 is that of whole layers at any stage', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'trainyard-halves-'));
    const model = join(MODELS, 'llama-gqa-tied');
    const run = (stage: number, recompute: UserConfig['recompute'], task: object) =>
      runRanks<{ readonly atStart: string }>('zero-program.js', 2, [
        JSON.stringify({ model, train_batch_size: 4, zero_optimization: { stage }, recompute }),
        JSON.stringify(task),
      ]);
    try {
      await run(3, { policy: 'always', granularity }, { save: folder });
      const results = [
        ...(await run(3, { policy: 'always', granularity }, { load: folder })),
        ...(await run(1, { policy: 'none' }, { load: folder })),
      ];
      assert.equal(new Set(results.map(({ atStart }) => atStart)).size, 1);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('first weights are the same, and an adapter has the same matrices under the same names', () => {
    const folder = mkdtempSync(join(tmpdir(), 'trainyard-halves-'));
    const adapter = { type: 'lora', targets: 'all-linear', rank: 2, dropout: 0.1 } as const;
    try {
      const results = ([{ policy: 'always' }, { policy: 'always', granularity }] as const).map(
        (recompute) => {
          const config: UserConfig = { model: GPT2, train_batch_size: 4, recompute };
          const plain = initialize({ config });
          const first = valuesOf(plain);
          plain.close();
          const saved = [false, true].map((merge) => {
            const engine = initialize({ config: { ...config, adapter: { ...adapter, merge } } });
            engine.trainBatch({ inputIds: SEQUENCES.slice(0, 4) });
            const output = join(folder, String(merge));
            engine.saveModel(output);
            engine.close();
            return tensorsIn(join(output, merge ? 'model.safetensors' : 'adapter_model.safetensors'));
          });
          const settings = readFileSync(join(folder, 'false', 'adapter_config.json'), 'utf8');
          return { first, saved, settings };
        },
      );
      assert.deepEqual(results[1], results[0]);
      assert.deepEqual(namesOf(results[0]?.saved[1]), namesOf(results[0]?.first), 'merged, it is the model');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('a model of one’s own', { concurrency: 1 }, () => {
  const config: UserConfig = { train_batch_size: 4, recompute: { policy: 'always', granularity } };
  const sequences = SEQUENCES.map((ids) => ids.map((id) => id % PLAIN_MODEL.vocabularySize));

  test('is refused where no block has halves', () => {
    assert.throws(
      () => initialize({ config, model: PLAIN_MODEL }),
      (error) =>
        error instanceof TrainyardError &&
        error.code === 'CONFIG_CONFLICT' &&
        /recompute\.granularity/.test(error.message),
    );
  });

  test('trains in the halves that it offers', () => {
    const [embedding, first, second, head] = PLAIN_MODEL.blocks;
    assert.ok(embedding && first && second && head);
    const halfOf = (block: nn.Block): nn.Block => ({
      ...block,
      name: `layer.${block.name}`,
      parameterPrefix: 'layer',
      parameters: block.parameters.map((each) => ({ ...each, name: block.name })),
      forward(parameters, input, context) {
        const own = { ...parameters, get: () => parameters.get(block.name) };
        const { hidden } = block.forward(own, input, context);
        assert.ok(hidden);
        // More is kept than the output.
        return { hidden: hidden.tanh() };
      },
    });
    const layer = new nn.BlockOfHalves('layer', [halfOf(first), halfOf(second)]);
    const model: nn.Model = { ...PLAIN_MODEL, blocks: [embedding, layer, head] };
    const whole = train({ train_batch_size: 4 }, sequences, 3, { model });
    const halves = train(config, sequences, 3, { model });
    assert.deepEqual(halves.recomputed, ['layer.second', 'layer.first']);
    assert.deepEqual(halves.losses, whole.losses);
    assert.ok(halves.weights.equals(whole.weights));
  });
});

function namesOf(tensors: ReadonlyMap<string, unknown> | undefined): readonly string[] {
  return [...(tensors?.keys() ?? [])].sort();
}

/** A file's tensors by their names. */
function tensorsIn(path: string): ReadonlyMap<string, readonly number[]> {
  const file = openSafetensors(path);
  return new Map(file.names.map((name) => [name, [...file.bytes(name)]]));
}

/** All parameters by their names. */
function valuesOf(engine: ReturnType<typeof initialize>): ReadonlyMap<string, readonly number[]> {
  return engine.gathered(
    engine.parameterNames,
    (tensors) => new Map([...tensors].map(([name, tensor]) => [name, tensor.flatten().toArray()])),
  );
}
