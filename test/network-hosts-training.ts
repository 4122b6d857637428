import assert from 'node:assert/strict';
import { compileStep } from '../src/engine/compile-step.js';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import { exchangedBytes } from '../src/engine/mesh-groups.js';
import { openModel } from '../src/engine/model-source.js';
import { joinWorld } from '../src/engine/world.js';
import { rankEnvironment } from '../src/launch/environment.js';
import { planFlatLayout } from '../src/nn/flat-layout.js';
import { linkTraffic, type Traffic, trafficBetween } from './link-traffic.js';

/**
 * One rank that trains on several hosts: `node network-hosts-training.js TASK`. Two steps with each configuration, of which
 * the second is counted.
 */
export interface TrainingTask {
  readonly configs: readonly UserConfig[];
  /** The names of this host's ends of its links. */
  readonly links: readonly string[];
}

export interface CountedStep {
  readonly loss: number;
  /** By this rank, as its groups count and as its program says. */
  readonly sentBytes: number;
  readonly predictedBytes: number;
  /** Of all ranks together: parameters that were gathered, gradients that were reduced and scattered. */
  readonly gathered: number;
  readonly scattered: number;
  /** Of this rank's host, as the kernel counts it. */
  readonly traffic: Traffic;
}

const LENGTH = 16;

const task = JSON.parse(process.argv[2] ?? '') as TrainingTask;
const environment = rankEnvironment(process.env);
assert(environment !== undefined);
const place = environment;
process.stdout.write(JSON.stringify(task.configs.map(train)));

function train(written: UserConfig, index: number): CountedStep {
  const { worldSize, rank } = place;
  const config = resolveConfig(written, { worldSize });
  assert(config.model !== undefined);
  const source = openModel({ ...config, model: config.model });
  const world = joinWorld(config, { ...place, masterPort: place.masterPort + index, runId: `run/${index}` });
  const engine = buildEngine({ config, source, world, sequenceLength: LENGTH });
  const rows = config.train_batch_size / worldSize;
  const inputIds = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: LENGTH }, (_item, at) => ((rank * rows + row) * 11 + at * 5) % 64),
  );
  engine.trainBatch({ inputIds });
  world.group.barrier().wait();
  const sent = (): number => exchangedBytes(world.group, world.axes);
  const before = { bytes: sent(), traffic: linkTraffic(task.links) };
  // No rank of this host begins before the others have looked.
  world.group.barrier().wait();
  const { loss } = engine.trainBatch({ inputIds });
  const sentBytes = sent() - before.bytes;
  world.group.barrier().wait();
  const traffic = trafficBetween(before.traffic, linkTraffic(task.links));
  const { reports } = compileStep({
    config,
    model: source.model,
    layout: planFlatLayout(source.model.blocks, undefined, worldSize),
    goal: 'update',
    sequenceLength: LENGTH,
    ...(world.hosts && { hosts: world.hosts }),
  });
  const collectives = reports[rank]?.collectives ?? [];
  const elementsOf = (wanted: (typeof collectives)[number]['kind']): number =>
    collectives.reduce((sum, { kind, elements }) => sum + (kind === wanted ? elements : 0), 0);
  engine.close();
  return {
    loss,
    sentBytes,
    predictedBytes: collectives.reduce((sum, collective) => sum + collective.sentBytes, 0),
    gathered: elementsOf('all-gather'),
    scattered: elementsOf('reduce-scatter'),
    traffic,
  };
}
