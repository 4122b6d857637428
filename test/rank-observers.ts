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

/** What two ranks exchange by. */
export const transport: Observer = (written) => onTwoRanks(TRANSPORT, written);

/** The messages of gradients that two ranks send in a step. */
export const messages: Observer = (written) => onTwoRanks(MESSAGES, written);

/** What a program writes on two ranks, in processes of their own. */
async function onTwoRanks(program: string, written: UserConfig): Promise<string> {
  const port = await freePort('127.0.0.1');
  const ranks = [0, 1].map((rank) =>
    spawn(
      process.execPath,
      [
        '--input-type=module',
        '--eval',
        program,
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
  assert.match(outputs[0] ?? '', /^\{/);
  assert.equal(outputs[1], outputs[0]);
  return outputs.join();
}

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

const MESSAGES = `
  const [engine, config] = process.argv.slice(1);
  const { initialize } = await import(engine + '/initialize.js');
  const started = initialize({ config: JSON.parse(config) });
  process.stdout.write(JSON.stringify({ buckets: started.program.buckets.length }));
  started.close();
`;
