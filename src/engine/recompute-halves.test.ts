import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { planFlatLayout } from '../nn/flat-layout.js';
import type { BlockCosts } from '../step/block-meter.js';
import { printProgram } from '../step/print.js';
import { type CompiledStep, compileStep, type StepToCompile } from './compile-step.js';
import { resolveConfig, type UserConfig } from './config.js';
import { measureBlocks } from './measure-blocks.js';
import { openModel } from './model-source.js';

// The choice of halves inside a budget, for real models: their bytes are measured, their times given or measured.

const [ROWS, LENGTH] = [4, 64];

const LLAMA = {
  architecture: 'llama',
  vocab_size: 64,
  hidden_size: 32,
  intermediate_size: 88,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
} as const;

const GPT2 = {
  architecture: 'gpt2',
  vocab_size: 64,
  n_embd: 32,
  n_layer: 3,
  n_head: 4,
  n_positions: 64,
  attn_pdrop: 0.1,
  resid_pdrop: 0.1,
  embd_pdrop: 0.1,
} as const;

interface Layout {
  readonly stage: 0 | 3;
  readonly worldSize: number;
}

const ALONE: Layout = { stage: 0, worldSize: 1 };

interface Subject {
  readonly layout: Layout;
  readonly costs: readonly BlockCosts[];
  readonly step: StepToCompile;
  readonly config: UserConfig;
}

/** A model in blocks or in halves, with what its blocks take. */
function subject(
  model: NonNullable<UserConfig['model']>,
  granularity: 'block' | 'half',
  { timeOf, layout = ALONE }: { timeOf?: (name: string) => number; layout?: Layout } = {},
): Subject {
  const { stage, worldSize } = layout;
  const config: UserConfig = {
    model,
    train_micro_batch_size_per_gpu: ROWS,
    gradient_accumulation_steps: 1,
    zero_optimization: { stage, ...(stage === 3 && { stage3_param_persistence_threshold: 0 }) },
    recompute: { policy: 'always', granularity },
  };
  const resolved = resolveConfig(config, { worldSize, requires: ['model'] });
  const source = openModel(resolved);
  const { blocks } = source.model;
  const costs = measureBlocks(source.model, { rows: ROWS, length: LENGTH }).map((cost, index) => ({
    ...cost,
    ...(timeOf && { forwardMs: timeOf(blocks[index]?.name ?? '') }),
  }));
  const step = {
    config: resolved,
    model: source.model,
    layout: planFlatLayout(blocks, undefined, worldSize),
    goal: 'update',
    sequenceLength: LENGTH,
    measured: costs,
  } as const;
  return { layout, costs, step, config };
}

/** A model's parts, by names: as whole layers take what their halves take together. */
function timesOf(attention: number, mlp: number): (name: string) => number {
  return (name) => {
    if (name.endsWith('.attention')) return attention;
    if (name.endsWith('.mlp')) return mlp;
    return /\.\d+$/.test(name) ? attention + mlp : 1;
  };
}

function within(
  { step, config, layout }: Subject,
  granularity: 'block' | 'half',
  budget: number,
): CompiledStep {
  const recompute = { policy: 'budget', budget_bytes: budget, granularity } as const;
  return compileStep({ ...step, config: resolveConfig({ ...config, recompute }, layout) });
}

function peakOf(compiled: CompiledStep): number {
  return Math.max(...compiled.reports.map(({ peak }) => peak.bytes));
}

function recomputedIn(compiled: CompiledStep): readonly number[] {
  const { instructions } = compiled.program(0);
  return instructions.flatMap((each) => (each.op === 'recompute' ? [each.block] : []));
}

function namesIn(compiled: CompiledStep): readonly string[] {
  return recomputedIn(compiled).map((block) => compiled.program(0).blocks[block]?.name ?? '');
}

function costOf(blocks: Iterable<number>, { costs }: Subject): number {
  return [...blocks].reduce((sum, block) => sum + (costs[block]?.forwardMs ?? 0), 0);
}

/** Every choice of blocks, with the memory and the time that it takes. */
function allChoices(of: Subject): readonly { readonly bytes: number; readonly cost: number }[] {
  const count = of.costs.length;
  return Array.from({ length: 2 ** count }, (_, bits) => {
    const recomputed = new Set([...of.costs.keys()].filter((block) => (bits >> block) & 1));
    return { bytes: peakOf(compileStep({ ...of.step, recomputed })), cost: costOf(recomputed, of) };
  });
}

describe('halves inside a budget', { concurrency: 1 }, () => {
  for (const [name, model, layout] of [
    ['Llama', LLAMA, ALONE],
    ['Llama at stage 3 on two ranks', LLAMA, { stage: 3, worldSize: 2 }],
    ['GPT-2 with dropout', GPT2, ALONE],
  ] as const) {
    test(`${name}: the choice costs least of all 256 by measured bytes and times`, () => {
      const of = subject(model, 'half', { layout });
      const choices = allChoices(of);
      assert.equal(choices.length, 256);
      const bytes = choices.map((choice) => choice.bytes);
      const [least, most] = [Math.min(...bytes), choices[0]?.bytes ?? 0];
      assert.ok(least < most);
      for (let part = 0; part <= 12; part += 1) {
        const budget = Math.ceil(least + ((most - least) * part) / 12);
        const chosen = within(of, 'half', budget);
        assert.ok(peakOf(chosen) <= budget);
        const fitting = choices.filter((choice) => choice.bytes <= budget);
        const cheapest = Math.min(...fitting.map(({ cost }) => cost));
        assert.ok(Math.abs(costOf(recomputedIn(chosen), of) - cheapest) < 1e-9, `budget ${budget}`);
      }
    });
  }

  test('they cost less time than whole layers, by recomputing halves of one kind', () => {
    const timeOf = timesOf(3, 2);
    const [whole, halves] = [subject(LLAMA, 'block', { timeOf }), subject(LLAMA, 'half', { timeOf })];
    const most = peakOf(compileStep({ ...whole.step, recomputed: new Set() }));
    const least = peakOf(compileStep(whole.step));
    assert.equal(peakOf(compileStep({ ...halves.step, recomputed: new Set() })), most);
    const parts = [1, 2, 3, 4, 5, 6, 7];
    const compared = parts.map((part) => {
      const budget = Math.ceil(least + ((most - least) * part) / 8);
      const [ofBlocks, ofHalves] = [within(whole, 'block', budget), within(halves, 'half', budget)];
      return {
        blocks: costOf(recomputedIn(ofBlocks), whole),
        halves: costOf(recomputedIn(ofHalves), halves),
        kinds: new Set(namesIn(ofHalves).map((name) => name.replace(/.*\./, ''))),
      };
    });
    assert.ok(compared.every(({ halves, blocks }) => halves <= blocks));
    const cheaper = compared.filter(({ halves, blocks }) => halves < blocks);
    assert.ok(cheaper.length >= 5, JSON.stringify(compared));
    assert.ok(cheaper.some(({ kinds }) => kinds.size === 1 && kinds.has('mlp')));
  });

  test('which kind it is depends on what each costs', () => {
    const kindsAt = (timeOf: (name: string) => number): ReadonlySet<string> => {
      const halves = subject(LLAMA, 'half', { timeOf });
      const most = peakOf(compileStep({ ...halves.step, recomputed: new Set() }));
      return new Set(namesIn(within(halves, 'half', most - 1)).map((name) => name.replace(/.*\./, '')));
    };
    assert.deepEqual(kindsAt(timesOf(3, 2)), new Set(['mlp']));
    assert.deepEqual(kindsAt(timesOf(1, 9)), new Set(['attention']));
  });

  test('the printed program names what is recomputed', () => {
    const halves = subject(LLAMA, 'half');
    const text = printProgram(compileStep(halves.step).program(0));
    assert.match(text, /^recompute +block\.4 +micro 0 +\(model\.layers\.1\.mlp\)$/m);
  });
});
