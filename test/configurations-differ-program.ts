import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import { PLAIN_MODEL } from './plain-model.js';
import { joinAsRank, type RankPlace } from './rank-world.js';

/** One rank that is given the configuration of its number: its arguments are CONFIGS. */
export function run(place: RankPlace, [configsText = '[]']: readonly string[]): unknown {
  const configs = JSON.parse(configsText) as readonly UserConfig[];
  const config = resolveConfig(configs[place.rank] ?? {}, { worldSize: place.worldSize });
  const world = joinAsRank(config, place);
  let refusal = '';
  try {
    buildEngine({ config, source: { model: PLAIN_MODEL }, world, sequenceLength: 8 });
  } catch (error) {
    refusal = String(error);
  }
  world.group.close();
  return { refusal };
}
