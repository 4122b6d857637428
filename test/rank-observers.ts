import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import type { UserConfig } from '../src/index.js';
import { freePort } from '../src/launch/free-port.js';

/** What shows the effect of a key, in processes of its own. */
type Observer = (config: UserConfig) => string | Promise<string>;

/** What a rank says that waits for another, in a process of its own: libtorch complains as well. */
export const meeting: Observer = (written) => {
  const { stdout } = spawnSync(
    process.execPath,
    [
      '--input-type=module',
      '--eval',
      MEETING,
      join(import.meta.dirname, '../src/index.js'),
      JSON.stringify(written),
    ],
    {
      encoding: 'utf8',
      env: { ...process.env, RANK: '1', WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: '1' },
    },
  );
  assert.match(stdout, /RENDEZVOUS_FAILED/);
  return stdout;
};

const MEETING = `
  const [library, config] = process.argv.slice(1);
  const { initialize } = await import(library);
  try {
    initialize({ config: JSON.parse(config) });
  } catch (error) {
    process.stdout.write(error.code + ' ' + error.message);
  }
`;

/** What two ranks exchange by, in processes of their own. */
export const transport: Observer = async (written) => {
  const port = await freePort('127.0.0.1');
  const ranks = [0, 1].map((rank) =>
    spawn(
      process.execPath,
      [
        '--input-type=module',
        '--eval',
        TRANSPORT,
        join(import.meta.dirname, '../src/engine'),
        JSON.stringify(written),
      ],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: {
          ...process.env,
          RANK: `${rank}`,
          WORLD_SIZE: '2',
          MASTER_ADDR: '127.0.0.1',
          MASTER_PORT: `${port}`,
        },
      },
    ),
  );
  const outputs = await Promise.all(ranks.map(({ stdout }) => textOf(stdout)));
  assert.match(outputs[0] ?? '', /readsInPlace/);
  return outputs.join();
};

const TRANSPORT = `
  const [engine, config] = process.argv.slice(1);
  const { joinWorld } = await import(engine + '/world.js');
  const { resolveConfig } = await import(engine + '/config.js');
  const { rankEnvironment } = await import(engine + '/../launch/environment.js');
  const { group } = joinWorld(resolveConfig(JSON.parse(config), { worldSize: 2 }), rankEnvironment(process.env));
  const { readsInPlace, sumsInOrder } = group;
  process.stdout.write(JSON.stringify({ readsInPlace, sumsInOrder }));
  group.close();
`;
