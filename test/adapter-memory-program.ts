import { readFileSync } from 'node:fs';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { joinAsRank, type RankPlace } from './rank-world.js';

/**
 * One rank of the test of shared memory: its arguments are CONFIG. Trains one step, and
 * tells what of the constants is in its memory while all ranks have theirs; with an `output` it saves the model.
 */
export function run(place: RankPlace, [configText = '{}']: readonly string[]): unknown {
  const resolved = resolveConfig(JSON.parse(configText) as UserConfig, {
    worldSize: place.worldSize,
    requires: ['model'],
  });
  const world = joinAsRank(resolved, place);
  const { group } = world;
  const engine = buildEngine({
    config: resolved,
    source: openModel(resolved),
    world,
    sequenceLength: 8,
  });
  engine.trainBatch({ inputIds: [[1, 2, 3, 4, 5, 6, 7, 8]] });
  group.barrier().wait();
  const measured = { all: memory('smaps_rollup', () => true), constants: memory('smaps', isConstant) };
  if (resolved.output !== undefined) engine.saveModel(resolved.output);
  group.barrier().wait();
  const { frozenParameterCount } = engine;
  engine.close();
  return { ...measured, bytes: frozenParameterCount * 4 };

  function isConstant(mapping: string): boolean {
    return mapping.includes('trainyard-constants') || mapping.includes('model.safetensors');
  }

  /** Bytes of the mappings whose first line is wanted: resident, and with shared pages divided by their users. */
  function memory(
    file: string,
    wanted: (mapping: string) => boolean,
  ): { readonly rss: number; readonly pss: number } {
    const sums = { rss: 0, pss: 0 };
    let isWanted = false;
    for (const line of readFileSync(`/proc/self/${file}`, 'utf8').split('\n')) {
      if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) isWanted = wanted(line);
      const [, name, kilobytes] = /^(Rss|Pss): +(\d+) kB/.exec(line) ?? [];
      if (!isWanted || name === undefined) continue;
      sums[name === 'Rss' ? 'rss' : 'pss'] += Number(kilobytes) * 1024;
    }
    return sums;
  }
}
