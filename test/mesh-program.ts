import { createHash } from 'node:crypto';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { summarizeCollectives } from '../src/step/checker/collectives.js';
import { summarizeMessages } from '../src/step/checker/messages.js';
import { liveTensors } from '../src/tensor/tensor.js';
import { OWN_BLOCKS_MODEL } from './own-blocks-model.js';
import { joinAsRank, type RankPlace } from './rank-world.js';

const VOCABULARY = 37;
const LENGTH = 12;

/** What one rank did. */
export interface MeshRun {
  /** Bytes that it sent in its second step along each axis, as the groups count and as its program says. */
  readonly sent: Readonly<Record<string, number>>;
  readonly said: Readonly<Record<string, number>>;
  /** Of all parameters, to the last bit. */
  readonly atStart: string;
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly leaked: number;
}

interface MeshTask {
  /** In place of the model that the configuration names. */
  readonly ownModel?: boolean;
}

/** Trains three steps: its arguments are CONFIG TASK, in JSON. */
export function run(place: RankPlace, [configText = '{}', taskText = '{}']: readonly string[]): MeshRun {
  const { ownModel = false } = JSON.parse(taskText) as MeshTask;
  const config = resolveConfig(JSON.parse(configText) as UserConfig, {
    worldSize: place.worldSize,
  });
  const source = ownModel ? { model: OWN_BLOCKS_MODEL } : openModel({ ...config, model: config.model ?? '' });
  const world = joinAsRank(config, place);
  const engine = buildEngine({ config, source, world, sequenceLength: LENGTH });
  const { pipeline, data, tensor, shard, replicate, secondary, sequence } = world.axes;
  // Where training state is divided in groups, that of this rank is what programs call the data axis.
  const groups = {
    ...{ pipeline, data: shard, tensor },
    ...(replicate && { replicate }),
    ...(secondary && { secondary }),
    ...(sequence && { sequence }),
  };
  const counts = (): readonly (readonly [string, number])[] =>
    Object.entries(groups).map(([axis, { exchangedBytes }]) => [axis, exchangedBytes]);

  const atStart = fingerprint();
  const [losses, norms]: [number[], number[]] = [[], []];
  let sent: Readonly<Record<string, number>> = {};
  let [handles, leaked] = [0, 0];
  for (let step = engine.steps; step < 3; step += 1) {
    const before = new Map(counts());
    const { loss, gradientNorm } = engine.trainBatch({ inputIds: rowsOf(step) });
    losses.push(loss);
    norms.push(gradientNorm);
    if (step === 1) {
      sent = Object.fromEntries(counts().map(([axis, bytes]) => [axis, bytes - (before.get(axis) ?? 0)]));
      handles = liveTensors();
    }
    if (step === 2) leaked = liveTensors() - handles;
  }
  const { program } = engine;
  const said: Record<string, number> = { pipeline: 0, data: 0, tensor: 0 };
  for (const { group, sentBytes } of summarizeCollectives(program))
    said[group] = (said[group] ?? 0) + sentBytes;
  for (const { sentBytes } of summarizeMessages(program)) said.pipeline = (said.pipeline ?? 0) + sentBytes;
  engine.close();
  return { sent, said, atStart, losses, norms, leaked };

  function rowsOf(step: number): readonly (readonly number[])[] {
    const rows = config.train_micro_batch_size_per_gpu * config.gradient_accumulation_steps;
    const first = Math.floor(data.rank / config.sequence_parallel_size) * rows;
    return Array.from({ length: rows }, (_, row) =>
      Array.from({ length: LENGTH }, (__, i) => ((first + row) * 11 + i * 5 + step) % VOCABULARY),
    );
  }

  function fingerprint(): string {
    const hash = createHash('sha256');
    for (const name of engine.parameterNames) {
      engine.gathered([name], (tensors) => void hash.update(tensors.get(name)?.toBytes() ?? ''));
    }
    return hash.digest('hex');
  }
}
