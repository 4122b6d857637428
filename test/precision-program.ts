import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { compileStep } from '../src/engine/compile-step.js';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import type { StepResult } from '../src/engine/step-result.js';
import type { Model } from '../src/nn/block.js';
import { fullName, planFlatLayout } from '../src/nn/flat-layout.js';
import { liveTensors, type Tensor } from '../src/tensor/tensor.js';
import { joinAsRank, type RankPlace } from './rank-world.js';

/**
 * One rank of the tests of mixed precision: its arguments are CONFIG TASK, where CONFIG and
 * TASK are JSON. Trains a small model, in some steps of which one element of one gradient overflows.
 */
export function run(place: RankPlace, [configText = '{}', taskText = '{}']: readonly string[]): unknown {
  const { rank, worldSize } = place;

  interface Task {
    /** One letter a step: `o` is sound, `x` overflows. */
    readonly steps: string;
    /** Where to go on from, and where to save at the end. */
    readonly load?: string;
    readonly save?: string;
  }
  const task = JSON.parse(taskText) as Task;

  const VOCABULARY = 37;
  const FEATURES = 9;
  const LENGTH = 12;
  const normal = { kind: 'normal', mean: 0, std: 0.3 } as const;
  let isPoisoned = false;

  /**
   * Two products between an embedding and a head tied to it. Poisoned, the gradient of one element of `head.switch` is
   * infinite in 16 bits and all others, the loss included, are what they are without.
   */
  const MODEL: Model = {
    architecture: 'plain',
    vocabularySize: VOCABULARY,
    blocks: [
      {
        name: 'embedding',
        parameters: [{ name: 'weight', shape: [VOCABULARY, FEATURES], initializer: normal }],
        forward: (parameters, _, { batch }) => ({
          hidden: parameters.get('weight').value.indexSelect(0, batch.inputIds.flatten()),
        }),
      },
      {
        name: 'layer',
        parameters: [{ name: 'weight', shape: [FEATURES, FEATURES], initializer: normal }],
        forward: (parameters, { hidden }) => {
          assert.ok(hidden);
          return { hidden: hidden.matmul(parameters.get('weight').value.t()).tanh() };
        },
      },
      {
        name: 'head',
        parameters: [
          { name: 'weight', shape: [VOCABULARY, FEATURES], initializer: normal, tiedTo: 'embedding.weight' },
          { name: 'switch', shape: [VOCABULARY], initializer: { kind: 'constant', value: 0 } },
          { name: 'bias', shape: [VOCABULARY], initializer: normal },
        ],
        forward: (parameters, { hidden }, { batch, lossScale }) => {
          assert.ok(hidden && batch.labels);
          const logits = hidden.matmul(parameters.get('weight').value.t()).add(parameters.get('bias').value);
          const loss = logits.to('float32').crossEntropyLoss(batch.labels.flatten(), null, 2, -100);
          const large = parameters.get('switch').value.dtype === 'float16' ? 6e4 : 3e38;
          const zero = parameters
            .get('switch')
            .value.select(0, 30)
            .mul(large)
            .mul(isPoisoned ? large : 0);
          return { loss: loss.mul(lossScale).add(zero) };
        },
      },
    ],
  };

  const config = resolveConfig(JSON.parse(configText) as UserConfig, { worldSize });
  const world = joinAsRank(config, place);
  const source = { model: MODEL, config: { architecture: 'plain' } };
  const engine = buildEngine({ config, source, world, sequenceLength: LENGTH });
  if (task.load !== undefined) assert.ok(engine.load(task.load));

  const rows = config.train_batch_size / worldSize;
  const results: Omit<StepResult, 'milliseconds' | 'exposedCommunicationMs' | 'exchangedBytes'>[] = [];
  const sent: number[] = [];
  const handles: number[] = [];
  // Sound steps take one batch after the other, as if those that overflow had not been.
  let sound = engine.steps - engine.skippedSteps;
  for (const letter of task.steps) {
    isPoisoned = letter === 'x';
    const before = isPoisoned ? fingerprint() : '';
    const sentBefore = world.group.exchangedBytes;
    const {
      milliseconds: _,
      exposedCommunicationMs: __,
      exchangedBytes: ___,
      ...result
    } = engine.trainBatch(batch(sound));
    sent.push(world.group.exchangedBytes - sentBefore);
    handles.push(liveTensors());
    results.push(result);
    if (isPoisoned) assert.equal(fingerprint(), before, 'a skipped step changed a weight');
    else sound += 1;
  }
  if (task.save !== undefined) engine.save(task.save);
  assert.equal(handles.at(-1), handles[1], 'tensors leaked');

  const layout = planFlatLayout(MODEL.blocks, undefined, worldSize);
  const { reports } = compileStep({
    config,
    model: MODEL,
    layout,
    goal: 'update',
    sequenceLength: LENGTH,
  });
  const weights = fingerprint();
  const optimizerBytes = engine.optimizerStateBytes;
  engine.close();
  return {
    results,
    sent,
    collectives: reports[rank]?.collectives,
    ledger: reports[rank]?.peak.ledger,
    optimizerBytes,
    parameters: layout.trainableElements,
    weights,
  };

  function batch(step: number) {
    return {
      inputIds: Array.from({ length: rows }, (_, row) =>
        Array.from({ length: LENGTH }, (_, i) => ((rank * rows + row) * 11 + i * 5 + step) % VOCABULARY),
      ),
    };
  }

  /** Of all fp32 weights, to the last bit. */
  function fingerprint(): string {
    const hash = createHash('sha256');
    const names = MODEL.blocks.flatMap((block) =>
      block.parameters.flatMap(({ name, tiedTo }) => (tiedTo === undefined ? [fullName(block, name)] : [])),
    );
    for (const name of names) {
      engine.gathered([name], (tensors: ReadonlyMap<string, Tensor>) => {
        const tensor = tensors.get(name);
        assert.ok(tensor?.dtype === 'float32', name);
        hash.update(tensor.toBytes());
      });
    }
    return hash.digest('hex');
  }
}
