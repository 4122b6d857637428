import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TrainyardError } from '../src/base/errors.js';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { joinAsRank, type RankPlace } from './rank-world.js';

/** Ranks that save under different names: what the first one says of it. Its argument is the configuration, in JSON. */
export function run(place: RankPlace, [configText = '{}']: readonly string[]): readonly string[] {
  const config = resolveConfig(JSON.parse(configText) as UserConfig, {
    worldSize: place.worldSize,
    requires: ['model'],
  });
  const said: string[] = [];
  const warn = (message: string): void => void said.push(message);
  const world = joinAsRank(config, place);
  const engine = buildEngine({ config, source: openModel(config), world, sequenceLength: 8, warn });
  const root = mkdtempSync(join(tmpdir(), 'trainyard-tags-'));
  try {
    said.push(
      engine.save(root, { tag: `of-rank-${place.rank}` })?.slice(root.length) ?? 'another rank knows',
    );
  } catch (error) {
    if (!(error instanceof TrainyardError)) throw error;
    said.push(`${error.code} ${error.report.got}`);
  }
  engine.close();
  rmSync(root, { recursive: true });
  return said;
}
