import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import { PLAIN_MODEL } from './plain-model.js';
import { joinAsRank, readPlace } from './rank-world.js';

/** One rank that is given the configuration of its number: `node …-program.js RANK WORLD PORT CONFIGS`. */
const { further, ...place } = readPlace();
const configs = JSON.parse(further[0] ?? '[]') as readonly UserConfig[];
const config = resolveConfig(configs[place.rank] ?? {}, { worldSize: place.worldSize });
const world = joinAsRank(config, place);
let refusal = '';
try {
  buildEngine({ config, source: { model: PLAIN_MODEL }, world, sequenceLength: 8 });
} catch (error) {
  refusal = String(error);
}
world.group.close();
process.stdout.write(JSON.stringify({ refusal }));
