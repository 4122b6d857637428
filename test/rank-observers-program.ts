import assert from 'node:assert/strict';
import { resolveConfig } from '../src/engine/config.js';
import { initialize } from '../src/engine/initialize.js';
import { joinWorld } from '../src/engine/world.js';
import type { UserConfig } from '../src/index.js';
import { rankEnvironment } from '../src/launch/environment.js';
import type { RankPlace } from './rank-world.js';

/** What `rank-observers.ts` shows of a configuration on several ranks. */
export type Shown = 'meeting' | 'transport' | 'messages';

/** One rank, with what a launcher would say in its environment. */
export function run(place: RankPlace, [shown, written = '']: readonly string[]): string {
  const config = JSON.parse(written) as UserConfig;
  switch (shown as Shown) {
    case 'meeting':
      return inPlace({ rank: 1, worldSize: 2, port: 1 }, () => refusalOf(config));
    case 'transport':
      return inPlace(place, () => {
        const environment = rankEnvironment(process.env) ?? assert.fail('no launcher has said anything');
        const { group } = joinWorld(resolveConfig(config, { worldSize: 2 }), environment);
        const { readsInPlace, sumsInOrder } = group;
        group.close();
        return JSON.stringify({ readsInPlace, sumsInOrder });
      });
    case 'messages':
      return inPlace(place, () => {
        const engine = initialize({ config });
        const buckets = engine.program.buckets.length;
        engine.close();
        return JSON.stringify({ buckets });
      });
    default:
      throw new Error(`nothing shows ${shown}`);
  }
}

/** Nobody listens there. */
function refusalOf(config: UserConfig): string {
  try {
    initialize({ config }).close();
  } catch (error) {
    return String(error instanceof Error && 'code' in error ? `${error.code} ${error.message}` : error);
  }
  return 'a rank has met nobody, and went on';
}

function inPlace({ rank, worldSize, port }: RankPlace, act: () => string): string {
  const said = { RANK: rank, WORLD_SIZE: worldSize, MASTER_ADDR: '127.0.0.1', MASTER_PORT: port };
  for (const [name, value] of Object.entries(said)) process.env[name] = String(value);
  try {
    return act();
  } finally {
    for (const name of Object.keys(said)) delete process.env[name];
  }
}
