import assert from 'node:assert/strict';
import type { UserConfig } from '../src/index.js';
import type { Shown } from './rank-observers-program.js';
import { runRanks } from './run-ranks.js';

/** What shows the effect of a key, in processes of its own. */
type Observer = (config: UserConfig) => Promise<string>;

/** What a rank says that waits for another. */
export const meeting: Observer = async (written) => {
  const [said] = await runRanks<string>('rank-observers-program.js', 1, ['meeting', JSON.stringify(written)]);
  assert.match(said ?? '', /RENDEZVOUS_FAILED/);
  return said ?? '';
};

/** What two ranks exchange by. */
export const transport: Observer = (written) => onTwoRanks('transport', written);

/** The messages of gradients that two ranks send in a step. */
export const messages: Observer = (written) => onTwoRanks('messages', written);

async function onTwoRanks(shown: Shown, written: UserConfig): Promise<string> {
  const outputs = await runRanks<string>('rank-observers-program.js', 2, [shown, JSON.stringify(written)]);
  assert.match(outputs[0] ?? '', /^\{/);
  assert.equal(outputs[1], outputs[0]);
  return outputs.join();
}
